#!lua
-- know: note something about a contact. Its record is forgotten a good while after its last bill, but never what the
-- person decided about us.
-- KEYS    1 prefix of the contact's partition  2 contact record
-- ARGV    1 seconds to keep it  2... fields and values
-- Return  1. Cost O(fields given).
redis.call('HSET', KEYS[2], unpack(ARGV, 2))
local said = redis.call('HMGET', KEYS[2], 'x:sms', 'x:whatsapp', 'x:email', 'x:telegram', 'y:sms', 'y:whatsapp',
  'y:email', 'y:telegram')
for i = 1, 8 do
  if said[i] then return redis.call('PERSIST', KEYS[2]) end
end
redis.call('EXPIRE', KEYS[2], ARGV[1])
return 1

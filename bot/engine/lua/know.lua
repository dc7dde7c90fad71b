#!lua
-- know: note something about a contact. Its record is forgotten a good while after its last bill, but never what the
-- person decided about us.
-- KEYS    1 prefix of the contact's partition  2 contact record
-- ARGV    1 seconds to keep it  2... fields and values
-- Return  what decides how they can be reached, as reach. Cost O(fields given).
redis.call('HSET', KEYS[2], unpack(ARGV, 2))
local found, decided = said_by(KEYS[2])
if decided then
  redis.call('PERSIST', KEYS[2])
else
  redis.call('EXPIRE', KEYS[2], ARGV[1])
end
return found

#!lua
-- know: note something about a contact. Its record is forgotten a good while after its last bill, but never what the
-- person decided about us.
-- KEYS    1 prefix of the contact's partition  2 contact record
-- ARGV    1 seconds to keep it  2 record of the share that it is about: nothing is noted of one that is not there
--         ('' on a cluster, where it may be elsewhere)  3... fields and values
-- Return  what decides how they can be reached, as reach. Cost O(fields given).
if ARGV[2] ~= '' and redis.call('EXISTS', ARGV[2]) == 0 then return {} end
redis.call('HSET', KEYS[2], unpack(ARGV, 3))
local found, decided = said_by(KEYS[2])
if decided then
  redis.call('PERSIST', KEYS[2])
else
  redis.call('EXPIRE', KEYS[2], ARGV[1])
end
return found

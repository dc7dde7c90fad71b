#!lua flags=no-writes
-- page: all that the page of one share shows, in one round trip.
-- KEYS    1 partition prefix
-- ARGV    1 sid  2 most payments
-- Return  { share, account, { payment, ... } }, each a flat list of fields, the newest payments, oldest first;
--         {} if there is no such share or no such bill. Cost O(fields + payments).
local s = redis.call('HGETALL', P .. 's:' .. ARGV[1])
if #s == 0 then return {} end
local number = redis.call('HGET', P .. 's:' .. ARGV[1], 'num')
local a = redis.call('HGETALL', P .. 'a:' .. number)
if #a == 0 then return {} end
local payments = {}
for _, pid in ipairs(redis.call('ZRANGE', P .. 'pn:' .. number, -tonumber(ARGV[2]), -1)) do
  payments[#payments + 1] = redis.call('HGETALL', P .. 'p:' .. pid)
end
return { s, a, payments }

#!lua flags=no-writes
-- page: all that the page of one share shows, in one round trip.
-- KEYS    1 partition prefix
-- ARGV    1 sid  2 most payments of each number
-- Return  { share, account, { payment, ... } }, each a flat list of fields, the newest payments, oldest first;
--         {} if there is no such share or no such bill, or nobody whom it is for: they were forgotten, and a link
--         in an old message tells nobody what they owed. Cost O(fields + payments).
local s, flat = share(ARGV[1])
if not s or not (s['a:phone'] or s['a:email'] or s['a:telegram']) then return {} end
local number = s.num
local a = redis.call('HGETALL', P .. 'a:' .. number)
if #a == 0 then return {} end
-- A bill may have been under other numbers before; what was paid there was paid for it.
local numbers, before = {}, number
while before and #numbers < 16 do
  table.insert(numbers, 1, before)
  before = redis.call('HGET', P .. 'a:' .. before, 'prev')
end
local payments = {}
for _, name in ipairs(numbers) do
  for _, pid in ipairs(redis.call('ZRANGE', P .. 'pn:' .. name, -tonumber(ARGV[2]), -1)) do
    payments[#payments + 1] = redis.call('HGETALL', P .. 'p:' .. pid)
  end
end
return { flat, a, payments }

#!lua
-- open_bill: a number that tuma made is on record, before anybody is told of it.
-- KEYS    1 partition prefix
-- ARGV    1 number  2 bill: JSON object of texts: kind, cur, term, amount (minor units), mode, due (ms or ''), desc,
--         name (the customer's, or ''), index (the same as it is looked for)
-- Return  1 if it was new, else 0. Cost O(log n).
local key, b = P .. 'a:' .. ARGV[1], cjson.decode(ARGV[2])
if redis.call('EXISTS', key) == 1 then return 0 end
redis.call('HSET', key, 'v', '1', 'kind', b.kind, 'cur', b.cur, 'st', 'open', 'T', b.term, 'ta:' .. b.term, b.amount,
  'tm:' .. b.term, b.mode)
if b.due ~= '' then redis.call('HSET', key, 'td:' .. b.term, b.due) end
if b.desc ~= '' then redis.call('HSET', key, 'tx:' .. b.term, b.desc) end
if b.name ~= '' then
  redis.call('HSET', key, 'nm', b.name)
  call_it(b.index, ARGV[1])
end
count('open', 1)
note_owed(ARGV[1], account(ARGV[1]))
return 1

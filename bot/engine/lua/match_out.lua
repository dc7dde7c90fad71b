#!lua flags=allow-oom
-- match_out: staff give a kept payment to another number. First `0` to reserve it, then `1` once it is counted there.
-- KEYS    1 partition prefix (of the payment)
-- ARGV    1 payment id  2 number it goes to  3 '0' reserve, '1' done
-- Return  { 'ok', field, value, ... } | { 'unknown' } | { 'taken', number }. Cost O(1).
local key = P .. 'p:' .. ARGV[1]
local p = record(key)
if not p then return { 'unknown' } end
if p.m == '1' and p.back ~= '1' then return { 'taken', p.mt or p.num } end
if p.mt and p.mt ~= ARGV[2] then return { 'taken', p.mt } end
redis.call('HSET', key, 'mt', ARGV[2])
if ARGV[3] == '1' then
  redis.call('HSET', key, 'm', '1', 'why', 'matched to ' .. ARGV[2])
  redis.call('ZREM', P .. 'um', ARGV[1])
  redis.call('ZREM', P .. 'up:' .. p.num, ARGV[1])
end
return { 'ok', unpack(redis.call('HGETALL', key)) }

#!lua flags=allow-oom
-- match_out: staff decide about a kept payment. `0` reserves it for a number, `1` says that it is counted there, `2`
-- that there is nothing to count (returned, not ours).
-- KEYS    1 partition prefix (of the payment)
-- ARGV    1 payment id  2 number it goes to  3 '0' reserve, '1' counted there, '2' dismissed
-- Return  { 'ok' } | { 'unknown' } | { 'taken', number } | { 'worthless', status }. Cost O(1).
local key = P .. 'p:' .. ARGV[1]
local p = record(key)
if not p then return { 'unknown' } end
if ARGV[3] == '2' then
  if not redis.call('ZSCORE', P .. 'um', ARGV[1]) then return { 'taken', p.mt or p.num } end
  redis.call('HSET', key, 'why', 'dismissed by staff')
  redis.call('ZREM', P .. 'um', ARGV[1])
  redis.call('ZREM', P .. 'up:' .. p.num, ARGV[1])
  unhold(p.num, ARGV[1])
  return { 'ok' }
end
if p.back == '1' or (p.st ~= 'SUCCESS' and p.st ~= 'SETTLED') then return { 'worthless', p.st } end
if p.m == '1' and not (p.mt == ARGV[2] and ARGV[3] == '1') then return { 'taken', p.mt or p.num } end
if p.mt and p.mt ~= ARGV[2] then return { 'taken', p.mt } end
redis.call('HSET', key, 'mt', ARGV[2])
if ARGV[3] == '1' then
  redis.call('HSET', key, 'm', '1', 'why', 'matched to ' .. ARGV[2])
  redis.call('ZREM', P .. 'um', ARGV[1])
  redis.call('ZREM', P .. 'up:' .. p.num, ARGV[1])
  unhold(p.num, ARGV[1])
end
return { 'ok' }

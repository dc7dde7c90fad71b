#!lua flags=allow-oom
-- match_out: staff decide about a kept payment. `0` reserves it for a number, `1` says that it is counted there, `2`
-- that there is nothing to count (returned, not ours).
-- KEYS    1 partition prefix (of the payment)
-- ARGV    1 payment id  2 number it goes to  3 '0' reserve, '1' counted there, '2' dismissed  4 now ms
--         5 kind of number that a balance gets, '' none
-- Return  { 'ok' } | { 'unknown' } | { 'taken', number } | { 'worthless', status }. Cost O(1).
local key = P .. 'p:' .. ARGV[1]
local p = record(key)
if not p then return { 'unknown' } end
policy.succ = ARGV[5]

-- Whatever became of its money, a payment has closed an order number at ClickPesa: what is owed needs another. Where
-- tuma can make none, staff have said that the bill goes on.
local function leave_dead_number()
  local number, a = live(p.fw or p.num, account(p.fw or p.num))
  if policy.succ == '' or not a or a.kind ~= 'order' or num(a.kept) > 0 then return end
  if a.st == 'open' and a.shut == '1' then
    close(number, a, ARGV[4])
    end_shares(number, a, 'number closed', ARGV[4])
  end
  want_successor(number, a, ARGV[4])
end
if ARGV[3] == '2' then
  if not redis.call('ZSCORE', P .. 'um', ARGV[1]) then return { 'taken', p.mt or p.num } end
  redis.call('HSET', key, 'why', 'dismissed by staff')
  redis.call('ZREM', P .. 'um', ARGV[1])
  redis.call('ZREM', P .. 'up:' .. p.num, ARGV[1])
  unhold(p.num, ARGV[1])
  leave_dead_number()
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
  leave_dead_number()
end
return { 'ok' }

#!lua flags=allow-oom
-- sync: numbers of which ClickPesa must be told: take some, note that one was told or must wait, or expect a change, of
-- which ClickPesa is told first: if it does not come true here (change.lua ends the wait), ClickPesa hears how it stands.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 'take' | 'told' | 'later' | 'expect'
--         take: 3 ms for which what is taken is not due for others  4 most
--         told, later: 3 number  4 version, '' for a number without a bill  5 later: ms of the next try, expect: ms from
--         when it is told
-- Return  take: list of { number, version, account as a flat list }; else 1 if this version was still the newest
-- Clock   the caller's. Cost O(taken).
local now = ARGV[1]
if ARGV[2] == 'take' then
  local out = {}
  for _, number in ipairs(redis.call('ZRANGEBYSCORE', P .. 'sync', '-inf', now, 'LIMIT', 0, ARGV[4])) do
    redis.call('ZADD', P .. 'sync', int(num(now) + num(ARGV[3])), number)
    out[#out + 1] = { number, redis.call('HGET', P .. 'a:' .. number, 'sv') or '', redis.call('HGETALL', P .. 'a:' .. number) }
  end
  return out
end
if ARGV[2] == 'expect' then
  local a = account(ARGV[3])
  if not a then return 0 end
  -- The change may take away what waits only because of it.
  local mine = redis.call('ZADD', P .. 'sync', 'NX', ARGV[5], ARGV[3]) == 1
  redis.call('HSET', P .. 'a:' .. ARGV[3], 'heal', mine and ('v' .. (a.sv or '')) or 'known')
  return 1
end
if (redis.call('HGET', P .. 'a:' .. ARGV[3], 'sv') or '') ~= ARGV[4] then
  redis.call('ZADD', P .. 'sync', 'XX', now, ARGV[3])
  return 0
end
if ARGV[2] == 'told' then
  redis.call('ZREM', P .. 'sync', ARGV[3])
  redis.call('HDEL', P .. 'a:' .. ARGV[3], 'heal', 'act')
else redis.call('ZADD', P .. 'sync', 'XX', ARGV[5], ARGV[3]) end
return 1

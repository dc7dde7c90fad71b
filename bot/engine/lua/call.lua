#!lua flags=allow-oom
-- call: one request to ClickPesa out of the allowance that all processes share, exact in every window of a minute.
-- KEYS    1 prefix `tuma:{clickpesa}:`; below it `spent`: sorted set of the last minute's requests by ms,
--           `day:<day>`: requests of a day, `rest`: until nobody may ask, ms
-- ARGV    1 now ms  2 most a minute for this urgency  3 most a day for it, 0 if the day has no bound
--         4 the day  5 ms until the next day  6 unique name of this request
-- Return  0 if it may be made and was counted, else ms until it is worth asking again
-- Clock   the caller's, never before the newest request. Cost O(log requests a minute).
local WINDOW_MS = 60000
-- A request is counted when it leaves and at the other side when it arrives.
local SLACK_MS = 1000
local spent, day, now = P .. 'spent', P .. 'day:' .. ARGV[4], num(ARGV[1])
local newest = redis.call('ZRANGE', spent, -1, -1, 'WITHSCORES')
if newest[2] and num(newest[2]) > now then now = num(newest[2]) end
local rest = num(redis.call('GET', P .. 'rest'))
if rest > now then return int(rest - now) end
if num(ARGV[3]) > 0 and num(redis.call('GET', day)) >= num(ARGV[3]) then return ARGV[5] end
redis.call('ZREMRANGEBYSCORE', spent, '-inf', int(now - WINDOW_MS - SLACK_MS))
local over = redis.call('ZCARD', spent) - num(ARGV[2])
if over >= 0 then
  local leaves = redis.call('ZRANGE', spent, over, over, 'WITHSCORES')
  return int(math.max(num(leaves[2]) + WINDOW_MS + SLACK_MS + 1 - now, 1))
end
redis.call('ZADD', spent, int(now), ARGV[6])
redis.call('PEXPIRE', spent, 2 * WINDOW_MS)
redis.call('INCR', day)
redis.call('EXPIRE', day, 2 * DAY)
return '0'

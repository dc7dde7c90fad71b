#!lua flags=allow-oom
-- event_next: take the oldest event of a number, or note that it arrived and see whether another waits.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 number  3 'take' | 'done'  4 ms for which a taken one is not due for others  5 id of a done one
-- Return  { event JSON, attempt } for a taken one, else {}. Cost O(log numbers).
-- One script, because an event pushed between "the list is empty" and "the number is not due" would be stranded.
local list, number = P .. 'cb:' .. ARGV[2], ARGV[2]
local head = redis.call('LINDEX', list, 0)
if ARGV[3] == 'done' then
  -- A slow deliverer may report what another has delivered meanwhile; then the head is somebody else's.
  if not head or cjson.decode(head).id ~= ARGV[5] then return {} end
  redis.call('LPOP', list)
  redis.call('HDEL', P .. 'cbtry', number)
  head = redis.call('LINDEX', list, 0)
end
if not head then
  redis.call('ZREM', P .. 'cbdue', number)
  return {}
end
if ARGV[3] == 'done' then
  redis.call('ZADD', P .. 'cbdue', ARGV[1], number)
  return {}
end
local due = redis.call('ZSCORE', P .. 'cbdue', number)
if not due or num(due) > num(ARGV[1]) then return {} end
redis.call('ZADD', P .. 'cbdue', int(num(ARGV[1]) + num(ARGV[4])), number)
return { head, redis.call('HINCRBY', P .. 'cbtry', number, 1) }

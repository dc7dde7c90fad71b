#!lua flags=allow-oom
-- hint_done: ClickPesa has answered; whatever it said is settled, so the hold ends.
-- KEYS    1 partition prefix
-- ARGV    1 number
-- Return  1. Cost O(log hints).
redis.call('ZREM', P .. 'hints', ARGV[1])
local hold = redis.call('HGET', P .. 'a:' .. ARGV[1], 'hold')
if hold and hold ~= 'staff' then redis.call('HDEL', P .. 'a:' .. ARGV[1], 'hold') end
return 1

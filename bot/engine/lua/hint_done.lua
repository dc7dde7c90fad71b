#!lua flags=allow-oom
-- hint_done: ClickPesa has answered; whatever it said is settled, so the hold ends.
-- KEYS    1 partition prefix
-- ARGV    1 number
-- Return  1. Cost O(log hints).
redis.call('ZREM', P .. 'hints', ARGV[1])
redis.call('HDEL', P .. 'a:' .. ARGV[1], 'hold')
return 1

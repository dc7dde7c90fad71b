#!lua flags=allow-oom
-- pause: nothing is handed out on a channel in this partition, or everything again.
-- KEYS    1 partition prefix
-- ARGV    1 channel  2 why (JSON: reason, by, at), '' to resume
-- Return  1 if that changed anything, else 0. Cost O(1).
if ARGV[2] ~= '' then return redis.call('HSETNX', P .. 'pause', ARGV[1], ARGV[2]) end
wake(ARGV[1], 'u')
wake(ARGV[1], 'b')
return redis.call('HDEL', P .. 'pause', ARGV[1])

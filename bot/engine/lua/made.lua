#!lua flags=allow-oom
-- made: ClickPesa has the number of a claim; the claim goes on like one that came with its number.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 claim name  3 the number
-- Return  1 if the claim was waiting for this number, else 0. Cost O(log n).
local key = P .. 'c:' .. ARGV[2]
local c = redis.call('HMGET', key, 'st', 'nx', 'num', 'job')
if c[1] ~= 'making' then return c[3] == ARGV[3] and 1 or 0 end
if c[2] ~= ARGV[3] then return 0 end
redis.call('HSET', key, 'st', 'open', 'num', ARGV[3])
redis.call('ZREM', P .. 'make:u', 'c:' .. ARGV[2])
redis.call('ZREM', P .. 'make:b', 'c:' .. ARGV[2])
open_job(ARGV[2], ARGV[1] .. ' ' .. c[4])
return 1

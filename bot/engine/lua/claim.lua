#!lua
-- claim: take a share id once, or learn what became of it.
-- KEYS    1 prefix of the id's partition  2 claim record
-- ARGV    1 now ms  2 share id  3 digest  4 control number  5 fresh sid  6 job (JSON text)
-- Return  { 'new' | 'open' | 'done' | 'conflict', sid, number }
-- Clock   the caller's. Cost O(1).
local c = redis.call('HMGET', KEYS[2], 'd', 'sid', 'num', 'st')
if not c[1] then
  redis.call('HSET', KEYS[2], 'v', '1', 'd', ARGV[3], 'num', ARGV[4], 'sid', ARGV[5], 'st', 'open', 'job', ARGV[6])
  redis.call('ZADD', P .. 'claims', ARGV[1], ARGV[2])
  return { 'new', ARGV[5], ARGV[4] }
end
if c[1] ~= ARGV[3] then return { 'conflict', c[2], c[3] } end
return { c[4], c[2], c[3] }

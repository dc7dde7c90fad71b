#!lua
-- claim: take a producer's id once, or learn what became of it.
-- KEYS    1 prefix of the id's partition  2 claim record
-- ARGV    1 now ms  2 claim name  3 digest  4 control number, '' when it is to be made  5 fresh sid
--         6 job (JSON text)  7 lane (u | b)  8 who is told if the number cannot be made ('' or inbox entry and job as it came)
-- Return  { 'new' | 'open' | 'making' | 'done' | 'conflict', sid, number }
-- Clock   the caller's. Cost O(log n).
local c = redis.call('HMGET', KEYS[2], 'd', 'sid', 'num', 'st')
if c[4] == 'refused' then
  redis.call('DEL', KEYS[2])
  c[1] = false
end
if not c[1] then
  local making = ARGV[4] == ''
  redis.call('HSET', KEYS[2], 'v', '1', 'd', ARGV[3], 'num', ARGV[4], 'sid', ARGV[5], 'st', making and 'making' or 'open',
    'job', ARGV[6], 'at', ARGV[1])

  if making then
    redis.call('HSET', KEYS[2], 'ln', ARGV[7], 'raw', ARGV[8], 'kind', cjson.decode(ARGV[6]).bill.kind)
    redis.call('ZADD', P .. 'make:' .. ARGV[7], ARGV[1], 'c:' .. ARGV[2])
    wake('create')
  else
    redis.call('ZADD', P .. 'claims', ARGV[1], ARGV[2])
  end
  return { 'new', ARGV[5], ARGV[4] }
end
if c[1] ~= ARGV[3] then return { 'conflict', c[2], c[3] } end
return { c[4], c[2], c[4] == 'making' and '' or c[3] }

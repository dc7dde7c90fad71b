#!lua
-- claim: take a producer's id once, or learn what became of it.
-- KEYS    1 prefix of the id's partition  2 where ids are kept  3 claim record
-- ARGV    1 now ms  2 claim name  3 digest  4 control number, '' when it is to be made  5 fresh sid
--         6 job (JSON text)  7 lane (u | b)  8 who is told if the number cannot be made ('' or inbox entry and job as it came)
-- Return  { 'new' | 'open' | 'making' | 'done' | 'conflict', sid, number }
-- Clock   the caller's. Cost O(ids kept in one place), O(log n) where a number is to be made.
local known = id_of(KEYS[2], ARGV[2])
if known then
  if known.d ~= ARGV[3] then return { 'conflict', known.sid, known.num } end
  return { is_open(ARGV[2]) and 'open' or 'done', known.sid, known.num }
end
local c = redis.call('HMGET', KEYS[3], 'd', 'sid', 'num', 'st')
if c[4] == 'refused' then
  redis.call('DEL', KEYS[3])
elseif c[1] then
  if c[1] ~= ARGV[3] then return { 'conflict', c[2], c[3] } end
  return { c[4], c[2], c[4] == 'making' and '' or c[3] }
end
if ARGV[4] ~= '' then
  keep_id(KEYS[2], ARGV[2], { sid = ARGV[5], d = ARGV[3], num = ARGV[4] }, ARGV[1])
  open_job(ARGV[2], ARGV[1] .. ' ' .. ARGV[6])
else
  redis.call('HSET', KEYS[3], 'v', '1', 'd', ARGV[3], 'num', '', 'sid', ARGV[5], 'st', 'making', 'job', ARGV[6],
    'at', ARGV[1], 'ln', ARGV[7], 'raw', ARGV[8], 'kind', cjson.decode(ARGV[6]).bill.kind)
  redis.call('ZADD', P .. 'make:' .. ARGV[7], ARGV[1], 'c:' .. ARGV[2])
  wake('create')
end
return { 'new', ARGV[5], ARGV[4] }

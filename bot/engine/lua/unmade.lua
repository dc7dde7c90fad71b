#!lua flags=allow-oom
-- unmade: a number was not made: try later, try under another reference, or give up and say why.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 member (c:<claim> | n:<number>)  3 reference  4 'later' | 'another' | 'refused'
--         5 later: ms of the next try; refused: why
-- Return  1 if it still waited for this reference, else 0. Cost O(log n).
local now, member, name = ARGV[1], ARGV[2], string.sub(ARGV[2], 3)
local of_claim = string.sub(member, 1, 2) == 'c:'
local key = P .. (of_claim and 'c:' or 'a:') .. name
local r = record(key)
if not r or r.nx ~= ARGV[3] or (of_claim and r.st ~= 'making') then return 0 end
local queue = P .. 'make:' .. (r.ln or 'u')
if ARGV[4] == 'later' then
  redis.call('ZADD', queue, 'XX', ARGV[5], member)
  return 1
end
redis.call('HDEL', key, 'nx', 'nxt')
if ARGV[4] == 'another' then
  redis.call('ZADD', queue, now, member)
  return 1
end
redis.call('ZREM', queue, member)
if not of_claim then
  redis.call('HSET', key, 'nxw', ARGV[5])
  redis.call('HDEL', key, 'nxk')
  release(r, name, now)
  changed(name)
  news('no_successor', now, { number = name, balance_minor = int(total_balance(r)), currency = r.cur, why = ARGV[5] })
  return 1
end
local job = cjson.decode(r.job)
redis.call('HSET', key, 'st', 'refused', 'why', ARGV[5])
redis.call('HDEL', key, 'job', 'raw')
redis.call('EXPIRE', key, KEEP_SHARE_S)
count('refused', 1)
if type(job.callback_url) == 'string' then
  -- There is no number to queue it under, so it goes by the id.
  redis.call('RPUSH', P .. 'cb:' .. name, cjson.encode({ id = 'evt_' .. r.sid .. '_0', type = 'share.refused', at = now,
    url = job.callback_url, data = { share = name, reason = ARGV[5] } }))
  redis.call('ZADD', P .. 'cbdue', 'NX', now, name)
end
return 1

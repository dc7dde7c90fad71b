#!lua flags=allow-oom
-- ask: take a message in doubt to ask its provider about it; nobody else does until the lease ends.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 channel  3 message id  4 lease ms
-- Return  {} if there is nothing to ask now, else { token, message, share, account, provider ids that other messages of
--         its number own, '1' if no other one can have reached the same person without its provider id being known }
-- Clock   the caller's. Cost O(messages of the number).
local now, id = ARGV[1], ARGV[3]
local key = P .. 'ask:' .. ARGV[2]
local due = redis.call('ZSCORE', key, id)
if not due or num(due) > num(now) then return {} end
local m = message(id)
local s = m and m.st == 'in_doubt' and share(sid_of(id))
local a = s and account(s.num)
if not a then
  redis.call('ZREM', key, id)
  if m and m.st == 'in_doubt' then timer('d:' .. id, now) end
  return {}
end
redis.call('ZADD', key, int(num(now) + num(ARGV[4])), id)
local token = redis.call('HINCRBY', P .. 'm:' .. id, 'ak', 1)

-- A message to the same person, handed out at about this time or later, of which nobody heard what became of it.
local NEAR_MS = 60000
local function unknown(o)
  return o.ch == m.ch and o.to == m.to and num(o.a) > 0 and not told(o) and num(o.hat) > num(m.hd or m.hat) - NEAR_MS
end

local owned, alone = {}, '1'
for _, o in ipairs(others_of(a, id)) do
  if told(o) then owned[#owned + 1] = o.pid end
  for _, pid in ipairs(words(o.pid2)) do owned[#owned + 1] = pid end
  if unknown(o) then alone = '0' end
end
local _, flat = message(id)
local _, flat_share = share(s.sid)
return { int(token), flat, flat_share, redis.call('HGETALL', P .. 'a:' .. s.num), owned, alone }

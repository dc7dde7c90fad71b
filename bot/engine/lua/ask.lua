#!lua flags=allow-oom
-- ask: take a message in doubt to ask its provider about it; nobody else does until the lease ends.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 channel  3 message id  4 lease ms
-- Return  {} if there is nothing to ask now, else what `put_question` (_lib.lua) tells
-- Clock   the caller's. Cost O(messages of the number).
local now, id = ARGV[1], ARGV[3]
local key = P .. 'ask:' .. ARGV[2]
local due = redis.call('ZSCORE', key, id)
if not due or num(due) > num(now) then return {} end
local m = message(id)
local s = m and m.st == 'in_doubt' and share(sid_of(id))
if not s or not account(s.num) then
  redis.call('ZREM', key, id)
  if m and m.st == 'in_doubt' then timer('d:' .. id, now) end
  return {}
end
return put_question(id, m, s, now, ARGV[4])

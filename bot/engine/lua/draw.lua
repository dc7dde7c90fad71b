#!lua
-- draw: take what waits for a control number to be made, each with the reference that it will have. The reference is on
-- record before ClickPesa is called, so that a lost answer can be looked for and nothing is made twice.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 lane (u | b)  3 ms for which what is taken is not due for others  4... fresh references
-- Return  list of { member, reference, tries before this one, claim or account as a flat list, for an account one of its
--         shares as a flat list }; at most one per fresh reference
-- Clock   the caller's. Cost O(taken).
local now, queue = ARGV[1], P .. 'make:' .. ARGV[2]
local fresh, used = #ARGV - 3, 0
local out = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'LIMIT', 0, fresh)) do
  local of_claim, name = string.sub(member, 1, 2) == 'c:', string.sub(member, 3)
  local key = P .. (of_claim and 'c:' or 'a:') .. name
  local r = record(key)
  if r and (not of_claim or r.st == 'making') then
    redis.call('ZADD', queue, int(num(now) + num(ARGV[3])), member)
    local reference = r.nx
    if not reference then
      used = used + 1
      reference = ARGV[3 + used]
      redis.call('HSET', key, 'nx', reference)
    end
    local tries = redis.call('HINCRBY', key, 'nxt', 1) - 1
    local s = {}
    if not of_claim then
      for _, sid in ipairs(shares_of(r)) do
        if #s == 0 then s = select(2, share(sid)) or {} end
      end
    end
    out[#out + 1] = { member, reference, int(tries), redis.call('HGETALL', key), s }
  else
    redis.call('ZREM', queue, member)
  end
end
return out

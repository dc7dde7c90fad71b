#!lua
-- reclaim: what a consumer held longer than a send can last is in doubt; nobody knows whether it left, unless its
-- provider has told of it meanwhile.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 channel  3 least idle ms (lease + request timeout)  4 most  5 ms until it is asked about or the
--         policy applies
-- Return  messages taken over
-- Clock   the server's for idleness (XPENDING), the caller's for timers. Cost O(reclaimed).
local now, channel, over = ARGV[1], ARGV[2], 0
for _, lane in ipairs({ 'u', 'b' }) do
  local key = stream(channel, lane)
  local pending = redis.call('EXISTS', key) == 1
    and redis.pcall('XPENDING', key, GROUP, 'IDLE', ARGV[3], '-', '+', ARGV[4]) or {}
  if pending.err then pending = {} end
  for _, row in ipairs(pending) do
    local entry = row[1]
    local found = redis.call('XRANGE', key, entry, entry)[1]
    local id = found and found[2][2]
    local m = id and message(id)
    if m and m.st == 'handed_out' and m.e == entry then
      local s = share(sid_of(id))
      redis.call('HSET', P .. 'm:' .. id, 'err', 'its worker was lost')
      if s and told(m) then
        taken(id, m, s, now)
      else
        into_doubt(id, m, int(num(now) + num(ARGV[5])), '*', now)
      end
      over = over + 1
    else
      redis.call('XACK', key, GROUP, entry)
      redis.call('XDEL', key, entry)
    end
  end
end
return over

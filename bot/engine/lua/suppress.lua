#!lua flags=allow-oom
-- suppress: a contact said no on a channel, or yes again.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 number  3 channel  4 address  5 reason, '' to lift it
-- Return  messages that will not go out. Cost O(shares of the number).
local now, channel, silenced = ARGV[1], ARGV[3], 0
local _, a = live(ARGV[2], account(ARGV[2]))
for _, sid in ipairs(a and shares_of(a) or {}) do
  local s = share(sid)
  if s and address(s, channel) == ARGV[4] then
    if ARGV[5] == '' then
      redis.call('HDEL', P .. 's:' .. sid, 'x:' .. channel)
    else
      silence(s, channel, ARGV[5])
      local why = suppressed(s, channel)
      local id = s['l:' .. channel] and (sid .. '.' .. s['l:' .. channel])
      local m = id and message(id)
      if waits(m) and m.ch == channel then
        done(id, m, 'suppressed', why, now)
        -- A person who said no needs nothing; an address that leads nowhere needs staff.
        if not advance(id, m, s, a, now) and why ~= 'opted out' then bury(id, m, now, why) end
        silenced = silenced + 1
      end
    end
  end
end
return silenced

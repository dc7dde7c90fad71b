#!lua flags=allow-oom
-- arrived: staff found out that a message in doubt did arrive.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 message id
-- Return  { 'ok' } | { 'refused', why } | { 'unknown' }. Cost O(channels).
local now, id, why = ARGV[1], ARGV[2], 'staff say that it arrived'
local m = message(id)
local s = m and share(sid_of(id))
if not s then return { 'unknown' } end
if m.why == why then return { 'ok' } end
if m.re then return { 'refused', 'it was sent again' } end
if m.st == 'in_doubt' then
  done(id, m, 'sent', why, now)
elseif (m.o == 'failed' or m.o == 'expired') and maybe_arrived(m) then
  redis.call('HSET', P .. 'm:' .. id, 'o', 'sent', 'why', why)
  count('o:' .. m.o, -1)
  count('o:sent', 1)
  unbury(id, m)
else
  return { 'refused', 'it is not in doubt' }
end
redis.call('HSET', P .. 'm:' .. id, 'sat', m.hat or now)
event(s, 'message.sent', now, { message = id, channel = m.ch, kind = m.k })
confirm(id, m, s, now)
return { 'ok' }

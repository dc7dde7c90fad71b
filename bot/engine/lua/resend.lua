#!lua
-- resend: staff want a share's instructions to go out again.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 sid  3 channel, or '' for the share's own choice  4 validity ms
-- Return  { 'ok', message id... } | { 'refused', reason } | { 'unknown' }. Cost O(channels).
local now, channel = ARGV[1], ARGV[3]
local s = share(ARGV[2])
if not s then return { 'unknown' } end
local open, why = payable(account(s.num), s)
if not open then return { 'refused', why } end
if channel ~= '' and not usable(s, channel) then
  return { 'refused', suppressed(s, channel) or 'no address for ' .. channel }
end
local opt, made = { lane = 'u', valid = ARGV[4] }, {}
if channel ~= '' then made[1] = create(s, 'instructions', channel, opt, now)
else made = speak(s, 'instructions', opt, now) end
if #made == 0 then return { 'refused', 'no channel can reach this contact' } end
return { 'ok', unpack(made) }

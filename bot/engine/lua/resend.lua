#!lua
-- resend: staff want the instructions, or one ended message, to go out again.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 sid  3 channel, or '' for the share's own choice  4 validity ms  5 message to replay, or ''
-- Return  { 'ok', message id... } | { 'refused', reason } | { 'unknown' }. Cost O(channels).
local now, channel = ARGV[1], ARGV[3]
local s = share(ARGV[2])
if not s then return { 'unknown' } end
local a = account(s.num)
local kind, old, opt = 'instructions', nil, { lane = 'u', valid = ARGV[4] }
if ARGV[5] ~= '' then
  old = message(ARGV[5])
  if not old then return { 'unknown' } end
  if old.st ~= 'done' and old.st ~= 'in_doubt' then return { 'refused', 'it still waits: ' .. old.st } end
  if old.o == 'sent' and num(old.dr) ~= 4 then return { 'refused', 'it was sent' } end
  if old.re then return { 'refused', 'it was sent again as ' .. old.re } end
  kind, channel, opt.pay, opt.extra = old.k, old.ch, old.pay, old.j
  if old.rg == '1' then opt.rung = '1' end
end
if fenced(kind) then
  local open, why = payable(a, s)
  if not open then return { 'refused', why } end
end
if channel ~= '' and not usable(s, channel) then
  return { 'refused', suppressed(s, channel) or 'no address for ' .. channel }
end
local made = {}
if channel ~= '' then made[1] = create(s, kind, channel, opt, now) else made = speak(s, kind, opt, now) end
if #made == 0 then return { 'refused', 'no channel can reach this contact' } end
if old then
  local now_old = message(ARGV[5])
  redis.call('HSET', P .. 'm:' .. ARGV[5], 're', made[1])
  if old.st == 'in_doubt' then
    -- It may have arrived: the new one may be a second one, and says so.
    redis.call('HSET', P .. 'm:' .. made[1], 'dup', '1')
    count('duplicates', 1)
    if now_old.st == 'in_doubt' then done(ARGV[5], now_old, 'superseded', 'sent again by staff', now) end
  end
  redis.call('ZREM', P .. 'dead', ARGV[5])
end
return { 'ok', unpack(made) }

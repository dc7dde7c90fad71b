#!lua flags=allow-oom
-- stop: nothing more is asked for this number.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 number  3 who stopped it  4 '1' it is cancelled: ClickPesa must close it  5 '1' if it can be told
-- Return  messages cancelled, or -1 for an unknown number. Cost O(shares of the number).
local now = ARGV[1]
policy.sync = ARGV[5]
local number, a = live(ARGV[2], account(ARGV[2]))
if not a then return -1 end
-- Of a closed number the balance may be on its way to a new one, or get one when staff decide about its money: it is not
-- wanted any more.
if a.st == 'open' or a.st == 'closed' then
  if a.st == 'open' then count('open', -1) end
  a.st = 'stopped'
  redis.call('HSET', P .. 'a:' .. number, 'st', 'stopped', 'halt', '1', 'by', ARGV[3])
  redis.call('EXPIRE', P .. 'a:' .. number, KEEP_ACCOUNT_S)
  note_owed(number, a)
  changed(number)
  if a.nxr then release(a, number, now) end
elseif a.st == 'settled' then
  -- Should its money go back, it is not asked for again.
  redis.call('HSET', P .. 'a:' .. number, 'halt', '1', 'by', ARGV[3])
end
if ARGV[4] == '1' and a.cxl ~= '1' then
  redis.call('HSET', P .. 'a:' .. number, 'cxl', '1')
  if a.st ~= 'closed' then tell_clickpesa(number, now) end
end
local canceled = 0
for _, sid in ipairs(shares_of(a)) do
  local s = share(sid)
  if s then
    if s.st == 'active' then
      redis.call('HSET', P .. 's:' .. sid, 'st', 'stopped')
      redis.call('EXPIRE', P .. 's:' .. sid, KEEP_SHARE_S)
      event(s, 'bill.stopped', now, { by = ARGV[3] })
    end
    canceled = canceled + hush(s, 'stopped', now)
  end
end
return canceled

#!lua flags=allow-oom
-- stop: nothing more is asked for this number.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 number  3 who stopped it
-- Return  messages cancelled, or -1 for an unknown number. Cost O(shares of the number).
local now, number = ARGV[1], ARGV[2]
local a = account(number)
if not a then return -1 end
if a.st == 'open' then
  redis.call('HSET', P .. 'a:' .. number, 'st', 'stopped', 'by', ARGV[3])
  redis.call('EXPIRE', P .. 'a:' .. number, KEEP_ACCOUNT_S)
  count('open', -1)
  changed(number)
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

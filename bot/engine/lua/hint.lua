#!lua flags=allow-oom
-- hint: somebody said, unproven, that this number was paid. Ask ClickPesa soon, and hold reminders meanwhile.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 number  3 longest hold, ms
-- Return  1 if the number is open (and will be asked about), else 0. Cost O(log hints).
-- Hints of one number coalesce, and it is held at most once a day, so that a liar cannot silence a bill.
local now, key = ARGV[1], P .. 'a:' .. ARGV[2]
local a = account(ARGV[2])
if not a or a.st ~= 'open' then return 0 end
redis.call('ZADD', P .. 'hints', 'NX', now, ARGV[2])
if num(a.hold) <= num(now) and num(a.hinted) + DAY * 1000 <= num(now) then
  redis.call('HSET', key, 'hinted', now, 'hold', int(num(now) + num(ARGV[3])))
end
return 1

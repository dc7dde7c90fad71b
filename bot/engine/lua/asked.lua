#!lua flags=allow-oom
-- asked: a provider was asked about a message in doubt, and did not name it. What it names goes through `delivery`.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 message id  3 token of the ask  4 answer: absent | later (cannot be asked now) | unaskable
--         5 ms when it is asked again  6 after how many answers that it is absent it is  7 ms that the whole doubt lasts
--         8 why it could not be asked, or ''
-- Return  1 if this was noted, 0 if somebody else asks by now or it is no question any more. Cost O(log timers).
-- What the answer leads to is decided where timers are handled (due).
local now, id, answer = ARGV[1], ARGV[2], ARGV[4]
local key = P .. 'm:' .. id
local m = message(id)
if not m or m.st ~= 'in_doubt' or m.ak ~= ARGV[3] then return 0 end
local ends, at = num(m.dat) + num(ARGV[7]), num(ARGV[5])
if answer == 'absent' then
  if redis.call('HINCRBY', key, 'aq', 1) >= num(ARGV[6]) then
    redis.call('HSET', key, 'aw', 'absent')
    at = num(now)
  end
elseif answer == 'unaskable' then
  redis.call('HSET', key, 'aw', 'unaskable')
  at = math.max(ends, num(now))
elseif ends <= num(now) then
  redis.call('HSET', key, 'aw', 'silent')
end
if ARGV[8] ~= '' then redis.call('HSET', key, 'ae', ARGV[8]) else redis.call('HDEL', key, 'ae') end
redis.call('ZREM', P .. 'ask:' .. m.ch, id)
timer('d:' .. id, int(at))
return 1

#!lua flags=allow-oom
-- chats: which chats may get a message now, one in `every`; the others are told when.
-- KEYS    1 prefix of the limits, `tuma:{limits}:`
-- ARGV    1 now us, '' for the server's own clock  2 us between two messages of one chat  3... chats, in their order
-- Return  for each chat 0 if it may get one now (which counts), else us until it may
-- Clock   the server's. Cost O(chats). A chat is forgotten when its time has passed.
local time = redis.call('TIME')
local now = ARGV[1] ~= '' and num(ARGV[1]) or num(time[1]) * 1000000 + num(time[2])
local every, waits = num(ARGV[2]), {}
for at = 3, #ARGV do
  local key = P .. 'chat:' .. ARGV[at]
  local free = math.min(num(redis.call('GET', key)), now + every)
  if free <= now then
    redis.call('SET', key, string.format('%.0f', now + every), 'PX', math.max(math.ceil(every / 1000), 1))
    waits[#waits + 1] = '0'
  else
    waits[#waits + 1] = string.format('%.0f', math.ceil(free - now))
  end
end
return waits

#!lua
-- link: a share's contact has a Telegram chat now; what waits for it goes there too.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 sid  3 link secret ('' when the contact is known to be linked)  4 chat id  5 validity ms
-- Return  { 'ok', number, message id or '' } | { 'unknown' } | { 'taken' }. Cost O(1).
local now, chat = ARGV[1], ARGV[4]
local s = share(ARGV[2])
if not s then return { 'unknown' } end
if ARGV[3] ~= '' and s.lt ~= ARGV[3] then return { 'unknown' } end
if s['a:telegram'] and s['a:telegram'] ~= chat then return { 'taken' } end
local fresh = not s['a:telegram']
s['a:telegram'] = chat
redis.call('HSET', P .. 's:' .. s.sid, 'a:telegram', chat)
redis.call('HDEL', P .. 's:' .. s.sid, 'x:telegram')
s['x:telegram'] = nil
local wanted, list = false, {}
for _, ch in ipairs(words(s.want or s.ch)) do
  if ch == 'telegram' then wanted = true end
  if ch == 'telegram' or string.find(' ' .. s.ch .. ' ', ' ' .. ch .. ' ', 1, true) then list[#list + 1] = ch end
end
if wanted then redis.call('HSET', P .. 's:' .. s.sid, 'ch', table.concat(list, ' ')) end
local made = ''
if fresh and wanted and payable(account(s.num), s) then
  made = create(s, 'instructions', 'telegram', { at = s.sa, lane = 'u', valid = int(math.max(num(ARGV[5]), num(s.sa) + 7 * DAY * 1000)) }, now)
end
return { 'ok', s.num, made }

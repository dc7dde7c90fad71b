#!lua
-- edit_contact: a share's contact gets another address. What waits goes there: addresses are read at hand out.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 sid  3 edit: JSON object: phone, email, telegram (texts, '' leaves it as it is), chat (linked to
--         the new addresses, or ''), link (fresh link secret), suppressed (object: channel to reason)
-- Return  { 'ok', kind, address, ... } addresses that this number's contacts gave up | { 'refused', kind: the address
--         is another contact's of this number } | { 'unknown' }
-- Clock   the caller's. Cost O(channels + contacts of the number).
local now, edit = ARGV[1], cjson.decode(ARGV[3])
local KINDS = { 'phone', 'email', 'telegram' }
local s = share(ARGV[2])
local a = s and account(s.num)
if not a then return { 'unknown' } end
local skey, akey = P .. 's:' .. s.sid, P .. 'a:' .. s.num

-- The contact is the group of addresses that this share's own belong to; no address moves from one to another.
local group, highest = nil, 0
for _, kind in ipairs(KINDS) do
  group = group or (s['a:' .. kind] and a['k:' .. kind .. ':' .. s['a:' .. kind]])
end
for field, g in pairs(a) do
  if string.sub(field, 1, 2) == 'k:' then highest = math.max(highest, num(g)) end
end
for _, kind in ipairs(KINDS) do
  local owner = edit[kind] ~= '' and a['k:' .. kind .. ':' .. edit[kind]]
  if owner and group and owner ~= group then return { 'refused', kind } end
  group = group or owner or nil
end
group = group or int(highest + 1)

local touched = {}
local function put(kind, to)
  local old = s['a:' .. kind]
  touched['a:' .. kind] = true
  if old ~= to then
    if old then
      a['ko:' .. kind .. ':' .. old] = '1'
      redis.call('HSET', akey, 'ko:' .. kind .. ':' .. old, '1')
    end
    if to then redis.call('HSET', skey, 'a:' .. kind, to) else redis.call('HDEL', skey, 'a:' .. kind) end
    if s.okc and ADDRESS[s.okc] == 'a:' .. kind then redis.call('HDEL', skey, 'okc') end
    s['a:' .. kind] = to
  end
  if to then
    a['ko:' .. kind .. ':' .. to] = nil
    redis.call('HDEL', akey, 'ko:' .. kind .. ':' .. to)
  end
  return old and old ~= to
end

local replaced = false
for _, kind in ipairs(KINDS) do
  if edit[kind] ~= '' then
    redis.call('HSET', akey, 'k:' .. kind .. ':' .. edit[kind], group)
    if put(kind, edit[kind]) and kind ~= 'telegram' then replaced = true end
  end
end
-- A chat was linked by whoever read the messages. If those went to somebody else, so did the link: the chat leaves
-- with the address, and the link in those messages opens nothing any more. A chat that was put on the bill stays.
local chat = s['a:telegram']
if edit.telegram == '' then
  local given = chat and a['k:telegram:' .. chat]
  if replaced and chat and not given and chat ~= edit.chat then put('telegram', nil) end
  if edit.chat ~= '' and not s['a:telegram'] then put('telegram', edit.chat) end
end
local left = chat and not s['a:telegram']

for ch, field in pairs(ADDRESS) do
  if touched[field] then
    s['x:' .. ch] = edit.suppressed[ch]
    if edit.suppressed[ch] then redis.call('HSET', skey, 'x:' .. ch, edit.suppressed[ch])
    else redis.call('HDEL', skey, 'x:' .. ch) end
  end
end

-- A channel that was asked for and had no address may have one now.
local list, at, wanted = {}, {}, false
for _, ch in ipairs(words(s.want or s.ch)) do
  local before = string.find(' ' .. s.ch .. ' ', ' ' .. ch .. ' ', 1, true)
  if ch == 'telegram' then wanted = true end
  if address(s, ch) and (before or not suppressed(s, ch)) then
    list[#list + 1] = ch
    at[ch] = true
  end
end
s.ch = table.concat(list, ' ')
redis.call('HSET', skey, 'ch', s.ch)
if s.skip then
  local rest = {}
  for _, skip in ipairs(cjson.decode(s.skip)) do
    if not at[skip.channel] then rest[#rest + 1] = skip end
  end
  if #rest > 0 then redis.call('HSET', skey, 'skip', cjson.encode(rest)) else redis.call('HDEL', skey, 'skip') end
end
if wanted and not s['a:telegram'] then redis.call('HSET', skey, 'lt', edit.link) end
if left and s['l:telegram'] then
  local id = s.sid .. '.' .. s['l:telegram']
  local m = message(id)
  if waits(m) and m.ch == 'telegram' then
    done(id, m, 'canceled', 'the contact was edited', now)
    advance(id, m, s, a, now)
  end
end

local gone = { 'ok' }
for field, _ in pairs(a) do
  local kind, address_of = string.match(field, '^ko:(%a+):(.*)$')
  if kind then
    gone[#gone + 1] = kind
    gone[#gone + 1] = address_of
  end
end
return gone

#!lua flags=allow-oom
-- forget: take one contact's personal data off a number: every address of the shares that have this one. Money and its
-- amounts stay; who they were does not.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 number  3 kind (phone | email | telegram)  4 address  5 names as indexed: JSON list
-- Return  { shares changed, 'kind:address' of what else was erased ... }. Cost O(messages of the number's shares).
local now, number, kind, to = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local a = account(number)
local forgotten, others, kept = 0, {}, {}

local function off_number(as, address)
  local known = as .. ':' .. address
  if a['k:' .. known] == FIRST_CONTACT then redis.call('HDEL', P .. 'a:' .. number, 'nm') end
  redis.call('HDEL', P .. 'a:' .. number, 'k:' .. known, 'ko:' .. known)
end

local function erase(s)
  for _, other in ipairs({ 'phone', 'email', 'telegram' }) do
    local known = s['a:' .. other]
    if known and known ~= '' then
      if other ~= kind then others[other .. ':' .. known] = true end
      off_number(other, known)
    end
  end
  hush(s, 'the contact was forgotten', now)
  for n = 1, num(s.n) do
    local key = P .. 'm:' .. s.sid .. '.' .. n
    if redis.call('EXISTS', key) == 1 then redis.call('HDEL', key, 'to', 'txt') end
  end
  redis.call('HDEL', P .. 's:' .. s.sid, 'a:phone', 'a:email', 'a:telegram', 'nm', 'lt', 'plan')
  if s.b then redis.call('HSET', P .. 's:' .. s.sid, 'b', cjson.encode({ template = cjson.decode(s.b).template })) end
end

for _, sid in ipairs(a and shares_of(a) or {}) do
  local s = share(sid)
  if s and s['a:' .. kind] == to then
    forgotten = forgotten + 1
    erase(s)
  elseif s then
    for _, other in ipairs({ 'phone', 'email', 'telegram' }) do kept[other .. ':' .. (s['a:' .. other] or '')] = true end
  end
end
-- Also where the share is on another number by now.
if a then off_number(kind, to) end
for _, name in ipairs(cjson.decode(ARGV[5])) do redis.call('LREM', P .. 'called', 0, name .. '\31' .. number) end
if a then
  for _, pid in ipairs(redis.call('ZRANGE', P .. 'pn:' .. number, 0, -1)) do
    redis.call('HSET', P .. 'p:' .. pid, 'who', '', 'raw', '')
    redis.call('HDEL', P .. 'p:' .. pid, 'ph', 'nm', 'note')
  end
end
if forgotten > 0 then changed(number) end
local reply = { forgotten }
for other in pairs(others) do
  -- Another contact of this number may have the same address (two guardians, one mailbox).
  if not kept[other] then reply[#reply + 1] = other end
end
return reply

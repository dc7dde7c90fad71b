#!lua flags=allow-oom
-- forget: take one contact's personal data off a number. Money and its amounts stay; who they were does not.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 number  3 kind (phone | email | telegram)  4 address  5 names as indexed: JSON list
-- Return  shares changed. Cost O(messages of the number's shares).
local now, number, kind, to = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local a = account(number)
local changed = 0
for _, sid in ipairs(a and shares_of(a) or {}) do
  local s = share(sid)
  if s and s['a:' .. kind] == to then
    changed = changed + 1
    for _, ch in ipairs({ 'sms', 'whatsapp', 'email', 'telegram' }) do
      local id = ADDRESS[ch] == 'a:' .. kind and s['l:' .. ch] and (sid .. '.' .. s['l:' .. ch])
      local m = id and message(id)
      if m and (m.st == 'scheduled' or m.st == 'queued') then done(id, m, 'canceled', 'the contact was forgotten', now) end
    end
    for n = 1, num(s.n) do
      local key = P .. 'm:' .. sid .. '.' .. n
      if redis.call('HGET', key, 'to') == to then redis.call('HDEL', key, 'to', 'txt') end
    end
    local blob = cjson.decode(s.b)
    redis.call('HDEL', P .. 's:' .. sid, 'a:' .. kind, 'lt')
    redis.call('HSET', P .. 's:' .. sid, 'b', cjson.encode({ template = blob.template }))
    s['a:' .. kind] = nil
    if not (s['a:phone'] or s['a:email'] or s['a:telegram']) then
      redis.call('HDEL', P .. 's:' .. sid, 'plan')
      redis.call('ZREM', P .. 'timers', 'r:' .. sid)
    end
  end
end
for _, name in ipairs(cjson.decode(ARGV[5])) do redis.call('ZREM', P .. 'names', name .. '\31' .. number) end
if a then
  redis.call('HDEL', P .. 'a:' .. number, 'k:' .. kind .. ':' .. to, 'ko:' .. kind .. ':' .. to)
  for _, pid in ipairs(redis.call('ZRANGE', P .. 'pn:' .. number, 0, -1)) do
    redis.call('HSET', P .. 'p:' .. pid, 'who', '', 'raw', '')
  end
end
return changed

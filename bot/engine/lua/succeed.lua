#!lua flags=allow-oom
-- succeed: ClickPesa has made a new number for the balance of a closed one. The balance is read again in this step: what
-- is not owed any more is never asked for.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 old number  3 new number  4 its kind  5 minor units it was made for  6 ms until which messages about
--         it are worth sending  7 '1' if ClickPesa can be told that the number is not wanted  8... names of the customers
-- Return  { 'ok', kind:address ... } (also when repeated) | { 'unneeded' } | { 'amount', minor units that are owed now }
--         | { 'stale' }
-- Clock   the caller's. Cost O(shares of the number).
local now, old, new = ARGV[1], ARGV[2], ARGV[3]
local a = account(old)
policy.sync = ARGV[7]
local function addresses()
  local list = { 'ok' }
  for field, _ in pairs(a) do
    if string.sub(field, 1, 2) == 'k:' then list[#list + 1] = string.sub(field, 3) end
  end
  return list
end
if a and a.next == new then return addresses() end
if not a or a.next or a.nx ~= new then return { 'stale' } end
local owed = total_balance(a)
if owed <= 0 or a.st ~= 'closed' then
  redis.call('HDEL', P .. 'a:' .. old, 'nx', 'nxt', 'nxk')
  redis.call('ZREM', P .. 'make:u', 'n:' .. old)
  release(a, old, now)
  tell_clickpesa(new, now)
  return { 'unneeded' }
end
if int(owed) ~= ARGV[5] then return { 'amount', int(owed) } end

local key = P .. 'a:' .. new
redis.call('HSET', key, 'v', '1', 'kind', ARGV[4], 'cur', a.cur, 'st', 'open', 'prev', old, 'kept', a.kept or '0')
local kept = {}
for _, term in ipairs(terms_of(a)) do
  local rest = balance(a, term)
  if rest > 0 then
    kept[#kept + 1] = term
    redis.call('HSET', key, 'ta:' .. term, int(rest), 'tm:' .. term, a['tm:' .. term],
      'tb:' .. term, int(num(a['tp:' .. term]) + num(a['tb:' .. term])))
    for _, field in ipairs({ 'td:' .. term, 'tx:' .. term, 'tt:' .. term }) do
      if a[field] then redis.call('HSET', key, field, a[field]) end
    end
  end
end
if a.nm then redis.call('HSET', key, 'nm', a.nm) end
redis.call('HSET', key, 'T', table.concat(kept, '\31'))
for field, value in pairs(a) do
  if string.match(field, '^ko?:') then redis.call('HSET', key, field, value) end
end
for at = 8, #ARGV do call_it(ARGV[at], new) end
count('open', 1)

local served = release(a, old, now, new)
for _, sid in ipairs(shares_of(a)) do
  local s = share(sid)
  if s and s.num == old and s.st ~= 'stopped' and balance(a, s.term) > 0 then
    redis.call('HSET', P .. 's:' .. sid, 'num', new)
    redis.call('HSET', key, 'sh:' .. sid, s.term)
    s.num = new
    wake_share(s, now)
    -- A receipt that names the new number says all there is to say.
    if not served[group_of(a, s)] then speak(s, 'instructions', { lane = 'u', valid = ARGV[6] }, now) end
    event(s, 'bill.renumbered', now, { from = old, balance_minor = int(owed), currency = a.cur })
  end
end
for _, term in ipairs(kept) do redis.call('HINCRBY', P .. 'a:' .. old, 'mv:' .. term, int(balance(a, term))) end
redis.call('HSET', P .. 'a:' .. old, 'next', new, 'kept', '0')
redis.call('HDEL', P .. 'a:' .. old, 'nxk')
note_owed(new, account(new))
changed(old)
changed(new)
news('successor', now, { number = new, old = old, balance_minor = int(owed), currency = a.cur })
return addresses()

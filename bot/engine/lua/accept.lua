#!lua
-- accept: put a share on its bill and make its first messages, in one transaction.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 job: JSON object of texts (see Shares._accept_args); what is empty is left out
-- Return  { 'ok', settled '0'|'1', message id... } | { 'repeated', sid } | { 'refused', code, detail }
-- Clock   the caller's (due times). Cost O(channels + shares of the number + payments before it).
local now, job = ARGV[1], setmetatable(cjson.decode(ARGV[2]), { __index = function() return '' end })
policy = job.policy
local key = P .. 'a:' .. job.num
local a = account(job.num)
local term = job.term
-- The claim keeps an id unique; should it have been released under a racing repeat, the bill itself still knows.
local called = job.name == '' or (a and a.nm == job.name)
for _, sid in ipairs(a and shares_of(a) or {}) do
  local known = redis.call('HMGET', P .. 's:' .. sid, 'id', 'nm')
  if sid == job.sid or known[1] == job.id then return { 'repeated', sid } end
  called = called or known[2] == job.name
end
if job.channels == '' then return { 'refused', 'channels', '' } end

-- The same address, or a new kind of address beside known ones, is the same contact; anything else needs consent.
local function contact_of()
  local groups, highest = {}, 0
  for field, group in pairs(a or {}) do
    if string.sub(field, 1, 2) == 'k:' then highest = math.max(highest, num(group)) end
  end
  local match
  for _, kind in ipairs({ 'phone', 'email', 'telegram' }) do
    local to = job[kind]
    match = match or (to and to ~= '' and a and a['k:' .. kind .. ':' .. to])
  end
  if job.additional == '1' or highest == 0 then return match or int(highest + 1) end
  if not match then return nil end
  for field, group in pairs(a) do
    local kind, known = string.match(field, '^k:(%a+):(.*)$')
    if kind and group == match and job[kind] and job[kind] ~= '' and job[kind] ~= known
      and not a['k:' .. kind .. ':' .. job[kind]] then
      return nil
    end
  end
  return match
end

if a then
  if a.cur ~= job.cur then return { 'refused', 'currency', a.cur } end
  if a.kind ~= job.kind then return { 'refused', 'kind', a.kind } end
  local known = a['ta:' .. term]
  local whole = known and int(num(known) + math.max(num(a['tb:' .. term]), 0))
  -- ClickPesa takes no payment for it: only who cancelled it can let it go on.
  if a.cxl == '1' then return { 'refused', 'dead', 'cancelled' } end
  if a.kind == 'order' and a.st ~= 'open' then return { 'refused', 'dead', a.st } end
  if known and known ~= job.amount and whole ~= job.amount then return { 'refused', 'amount', whole } end
  if known and (a.st == 'stopped' or balance(a, term) <= 0) then
    return { 'refused', 'dead', a.st == 'stopped' and 'stopped' or 'settled' }
  end
  if a.kind == 'order' and not known then return { 'refused', 'term', a.T } end
end
local earlier = a ~= nil
local group = earlier and contact_of() or (not earlier and '1')
if not group then return { 'refused', 'contact', '' } end

-- All that this share adds to the account is written at once.
local added = {}
local function add(field, value)
  a[field] = value
  added[#added + 1] = field
  added[#added + 1] = value
end
if not a then
  a = { T = '' }
  add('v', '1')
  add('kind', job.kind)
  add('cur', job.cur)
  add('st', 'open')
  count('open', 1)
elseif a.st ~= 'open' then
  add('st', 'open')
  a.halt = nil
  redis.call('HDEL', key, 'halt')
  redis.call('PERSIST', key)
  count('open', 1)
end
local fresh = not a['ta:' .. term]
if fresh then
  add('T', (a.T or '') == '' and term or (a.T .. '\31' .. term))
  add('ta:' .. term, job.amount)
  add('tm:' .. term, job.mode)
  add('tt:' .. term, now)
end
-- What a bill that is on record does not say yet, its share may.
for field, value in pairs({ td = job.due, tx = job.desc }) do
  if value ~= '' and not a[field .. ':' .. term] then add(field .. ':' .. term, value) end
end
for _, kind in ipairs({ 'phone', 'email', 'telegram' }) do
  local field = 'k:' .. kind .. ':' .. job[kind]
  if job[kind] ~= '' and not a[field] then add(field, group) end
end
add('sh:' .. job.sid, term)
redis.call('HSET', key, unpack(added))
if earlier then
  if fresh then
    use_credit(job.num, a)
    tell_clickpesa(job.num, now)
  end
  changed(job.num)
end

local early = redis.call('ZRANGE', P .. 'up:' .. job.num, 0, -1)
local s = { sid = job.sid, id = job.id, num = job.num, term = term, st = 'active', ln = job.lane, rm = job.route,
  ch = job.channels, cw = job.confirm, cb = job.callback }
local fields = { 'v', '1', 'id', s.id, 'num', s.num, 'term', term, 'st', 'active', 'ln', s.ln, 'rm', s.rm, 'ch', s.ch,
  'cw', s.cw, 'loc', job.locale, 'at', now }
local function put(field, value)
  if value ~= '' then
    fields[#fields + 1] = field
    fields[#fields + 1] = value
    s[field] = value
  end
end
put('a:phone', job.phone)
put('a:email', job.email)
put('a:telegram', job.chat)
put('cb', job.callback)
put('w', job.wallet)
put('nm', job.name)
put('b', job.blob)
put('lt', job.link)
if job.want ~= s.ch then put('want', job.want) end
put('skip', job.skip)
put('plan', job.plan)
put('rem', job.rem)
put('sa', job.send_at)
if job.suppressed ~= '' then
  for channel, why in pairs(job.suppressed) do put('x:' .. channel, why) end
end
-- What it asks for now is written with it, unless money is here already.
local first_said = #early == 0 and payable(a, s) and voices(s) or {}
put('n', int(#first_said))
for n, ch in ipairs(first_said) do put('l:' .. ch, int(n)) end
redis.call('HSET', P .. 's:' .. s.sid, unpack(fields))
if not called then call_it(job.called ~= '' and job.called or job.name, job.num) end

-- A payment that came before its share settles an order number; on a customer number only a recent one does.
local settled = '0'
for _, pid in ipairs(early) do
  local p = record(P .. 'p:' .. pid)
  local paid_at = p and num(p.paid ~= '' and p.paid or p.at)
  if p and p.m ~= '1' and p.back ~= '1' and (a.kind == 'order' or num(now) - paid_at <= num(job.early)) then
    p.pid = pid
    redis.call('ZREM', P .. 'up:' .. job.num, pid)
    redis.call('ZREM', P .. 'um', pid)
    allocate(job.num, a, p, false, now)
    a = account(job.num)
  end
end
if (earlier or #early > 0) and a.st == 'open' and total_balance(a) <= 0 then
  -- Credit of earlier terms pays for all of it.
  a.st = 'settled'
  count('open', -1)
  redis.call('HSET', key, 'st', a.st)
  redis.call('EXPIRE', key, KEEP_ACCOUNT_S)
  end_shares(job.num, a, 'paid', now)
end
if not payable(a, s) then settled = '1' end
-- A bill that is new, and of which no money is here, is owed as it stands.
if earlier or #early > 0 then note_owed(job.num, a) else enlist(P .. 'owe', job.num, job.amount) end
if job.made == '1' then event(s, 'bill.created', now, { amount_minor = job.amount, currency = job.cur }) end

local made = { 'ok', settled }
if settled == '0' then
  local opt = { at = job.send_at ~= '' and job.send_at or nil, valid = job.valid }
  if #first_said > 0 then
    opt.rung = s.rm == 'first' and '1' or nil
    for n, ch in ipairs(first_said) do
      opt.n = n
      made[#made + 1] = create(s, 'instructions', ch, opt, now)
    end
  else
    for _, id in ipairs(speak(s, 'instructions', opt, now)) do made[#made + 1] = id end
  end
  local first = string.match(job.plan, '%S+')
  if first then timer('r:' .. s.sid, first) end
end
return made

#!lua
-- change: a bill says something else from now on: amount, words, due time, mode, or a customer number's next term. What
-- waits is rendered when it is sent, so it says the new things; reminders are planned anew.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 number  3 change: JSON object of texts: term ('' the newest), amount (of the whole bill, minor units or ''), desc,
--         due (ms or ''), mode, nodue ('1': it is due at no time any more), active ('1': it was cancelled or stopped and goes on), replan ('1'), plans (object: sid to
--         plan), rem (reminder plan or ''), notify ('1'), valid (ms until which a message about it is worth sending),
--         told (minor units that ClickPesa was told are owed, or ''), policy
-- Return  { 'ok', number, messages made, messages cancelled } | { 'unknown' } | { 'again': a share came meanwhile }
--         | { 'refused', field, why }
-- Clock   the caller's. Cost O(shares of the number).
local now, c = ARGV[1], cjson.decode(ARGV[3])
policy = c.policy
local number, a = live(ARGV[2], account(ARGV[2]))
if not a then return { 'unknown' } end
local key, terms = P .. 'a:' .. number, terms_of(a)
local term = c.term ~= '' and c.term or terms[#terms]
local fresh = not a['ta:' .. term]
local gone = a.kind == 'order' and (a.st == 'closed' or a.st == 'settled' or (a.shut == '1' and c.active == '1'))
if gone then
  local st = a.st == 'settled' and 'settled' or 'closed'
  return { 'refused', 'number', 'is ' .. st .. '; an order number takes one payment' }
end
if fresh and a.cxl == '1' and c.active ~= '1' then
  return { 'refused', 'status', 'is INACTIVE: the bill was cancelled; ACTIVE lets it go on' }
end
if fresh and a.kind == 'order' then return { 'refused', 'term', 'an order number is one bill' } end
if fresh and c.amount == '' then return { 'refused', 'amount', 'is missing: a next term has its own' } end
-- The whole amount was given; what was paid under the numbers before this one is not asked for again.
if c.amount ~= '' then c.amount = int(num(c.amount) - math.max(num(a['tb:' .. term]), 0)) end
if num(c.amount) < 0 then return { 'refused', 'amount', 'is less than what was paid under the number before' } end

local mine, newest = {}, {}
for _, sid in ipairs(shares_of(a)) do
  local s = share(sid)
  if s and s.num == number and (fresh or s.term == term) then
    if c.replan == '1' and not c.plans[sid] then return { 'again' } end
    mine[#mine + 1] = s
    local group = group_of(a, s)
    if not newest[group] or num(s.at) >= num(newest[group].at) then newest[group] = s end
  end
end

local canceled = 0
if fresh then
  -- One voice a contact: the newest share goes on with the new term and carries what is left of the old ones.
  local kept = {}
  for _, s in ipairs(mine) do
    if newest[group_of(a, s)] == s then
      kept[#kept + 1] = s
      s.term = term
      a['sh:' .. s.sid] = term
      redis.call('HSET', P .. 's:' .. s.sid, 'term', term)
      redis.call('HSET', key, 'sh:' .. s.sid, term)
    else
      canceled = canceled + hush(s, 'another share goes on with the next term', now)
      redis.call('HSET', P .. 's:' .. s.sid, 'st', 'stopped')
      redis.call('EXPIRE', P .. 's:' .. s.sid, KEEP_SHARE_S)
      redis.call('HDEL', key, 'sh:' .. s.sid)
      a['sh:' .. s.sid] = nil
    end
  end
  mine = kept
  a.T = (a.T or '') == '' and term or (a.T .. '\31' .. term)
  a['tm:' .. term] = terms[1] and a['tm:' .. terms[#terms]] or 'partial'
  redis.call('HSET', key, 'T', a.T, 'tm:' .. term, a['tm:' .. term], 'tt:' .. term, now)
end
local news_for_customer = fresh
local function set(field, value, told)
  if value == '' or a[field .. term] == value then return end
  a[field .. term] = value
  redis.call('HSET', key, field .. term, value)
  news_for_customer = news_for_customer or told
end
set('ta:', c.amount, true)
set('tm:', c.mode, true)
set('td:', c.due, true)
set('tx:', c.desc, false)
if c.nodue == '1' and a['td:' .. term] then
  a['td:' .. term], news_for_customer = nil, true
  redis.call('HDEL', key, 'td:' .. term)
end
use_credit(number, a)

for _, s in ipairs(mine) do
  if c.replan == '1' then
    s.plan = c.plans[s.sid]
    redis.call('HSET', P .. 's:' .. s.sid, 'plan', s.plan)
    if c.rem ~= '' then redis.call('HSET', P .. 's:' .. s.sid, 'rem', c.rem) end
    if s.st == 'active' then wake_share(s, now) end
  end
end
local owed = total_balance(a)
local resumed = c.active == '1' and a.st == 'stopped'
if c.active == '1' or fresh then
  redis.call('HDEL', key, 'cxl', 'halt', 'late')
  a.cxl, a.halt = nil, nil
end
if owed > 0 and a.st == 'settled' and given_up(a) then
  -- It was paid when it was ended; ended it stays, and a cancelled one cannot be paid at ClickPesa.
  a.st = 'stopped'
  redis.call('HSET', key, 'st', a.st)
elseif owed > 0 and (a.st == 'settled' or a.st == 'open' or fresh or (a.st == 'stopped' and c.active == '1')) then
  reopen(number, a, now, a.st ~= 'open' or c.active == '1' or fresh)
elseif owed <= 0 and a.st == 'open' then
  a.st = 'settled'
  count('open', -1)
  redis.call('HSET', key, 'st', 'settled')
  redis.call('EXPIRE', key, KEEP_ACCOUNT_S)
end
canceled = canceled + end_shares(number, a, 'paid', now)
note_owed(number, a)
changed(number)
-- Two changes at once reach ClickPesa in one order and this step perhaps in the other: the first to come here takes the
-- mark of both, and after the last ClickPesa hears how the bill stands. So it does where it was being told something
-- else at the same time, which may have come there last; of its end, too (act).
local alone = a.heal == 'v' .. (a.sv or '')
local overtaken = c.told ~= '' and not alone
if alone then redis.call('ZREM', P .. 'sync', number) end
if a.heal then redis.call('HDEL', key, 'heal') end
if overtaken and c.active == '1' then redis.call('HSET', key, 'act', '1') end
if overtaken or c.told ~= '' and c.told ~= int(owed) or (owed <= 0 and a.kind == 'order') then tell_clickpesa(number, now) end

-- A message that still waits says the new things by itself.
local function say(s, kind)
  local made = 0
  for _, ch in ipairs(voices(s)) do
    local last = s['l:' .. ch] and message(s.sid .. '.' .. s['l:' .. ch])
    if fresh or not waits(last) then
      create(s, kind, ch, { lane = 'u', valid = c.valid, rung = s.rm == 'first' and '1' or nil }, now)
      made = made + 1
    end
  end
  return made
end
-- What was to be said when the bill was stopped was not.
local function unheard(s)
  for _, ch in ipairs(voices(s)) do
    local last = s['l:' .. ch] and message(s.sid .. '.' .. s['l:' .. ch])
    if last and last.o == 'sent' then return false end
  end
  return true
end
local made, about = 0, {}
for _, s in ipairs(mine) do about[s.sid] = true end
for _, sid in ipairs(shares_of(a)) do
  local s = share(sid)
  if c.notify == '1' and s and s.num == number and payable(a, s) then
    if (fresh and about[sid]) or (resumed and unheard(s)) then
      made = made + say(s, 'instructions')
    elseif (news_for_customer and about[sid]) or (resumed and a.late == '1') then
      made = made + say(s, 'bill_changed')
    end
  end
end
for _, s in ipairs(mine) do
  s = share(s.sid)
  event(s, 'bill.changed', now, { term = term, balance_minor = int(owed), currency = a.cur, status = a.st })
end
return { 'ok', number, int(made), int(canceled) }

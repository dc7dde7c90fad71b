#!lua flags=allow-oom
-- settle: one thing said about one payment. Counts its money once, stops the bill, queues receipts.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 event: JSON object of texts: num, pid (used if the payment is new), ids (list), status, rank,
--         kind (received | failed | deposit | other), counts '1'|'0', failed '1'|'0', back '1'|'0' (refunded or reversed), am, cur, ch, who, ref, msg, paid,
--         src, force '1'|'0', policy (see _lib.lua), extra (object: fields kept with a new payment)
--         3 the payment as it was told, a text
-- Return  { outcome, payment id, reason, messages cancelled, receipts made, number it was matched to or '' }
-- Clock   the caller's. Cost O(terms + shares of the number).
local now, e = ARGV[1], cjson.decode(ARGV[2])
policy = e.policy
-- Not a collection at all: what it calls itself says nothing of any payment of ours.
if e.kind == 'other' then
  news('unknown_event', now, { number = e.num, status = e.status })
  return { 'noted', '', '', 0, 0, '' }
end
local aliases, pid = {}, nil
for i, alias in ipairs(e.ids) do aliases[i] = P .. 'x:' .. e.num .. ':' .. alias end
for _, stands_for in ipairs(redis.call('MGET', unpack(aliases))) do pid = pid or stands_for end
local known = pid and record(P .. 'p:' .. pid)
pid = known and pid or e.pid
local key = P .. 'p:' .. pid
local keep_s = known and redis.call('ZSCORE', P .. 'um', pid) and KEEP_UNDECIDED_S or KEEP_ACCOUNT_S
for _, alias in ipairs(aliases) do redis.call('SET', alias, pid, 'EX', keep_s) end

local function put(...)
  redis.call('HSET', key, ...)
  redis.call('EXPIRE', key, keep_s)
end

-- Its names last as long as what waits for staff: told again, it is no second payment for them.
local function named(result)
  if result[1] == 'unmatched' then
    for _, alias in ipairs(aliases) do redis.call('EXPIRE', alias, KEEP_UNDECIDED_S) end
  end
  return result
end

local p
if not known then
  p = { v = '1', pid = pid, num = e.num, st = e.status, rank = e.rank, am = e.am, cur = e.cur, ch = e.ch, who = e.who,
    ref = e.ref, msg = e.msg, paid = e.paid, src = e.src, at = now, m = '0', raw = ARGV[3] }
  for field, value in pairs(e.extra) do p[field] = value end
  local fields = {}
  for field, value in pairs(p) do
    fields[#fields + 1] = field
    fields[#fields + 1] = value
  end
  put(unpack(fields))
  redis.call('ZADD', P .. 'pn:' .. e.num, now, pid)
  redis.call('ZADD', P .. 'pt', e.paid ~= '' and e.paid or now, pid)
  redis.call('EXPIRE', P .. 'pn:' .. e.num, KEEP_ACCOUNT_S)
elseif num(e.rank) > num(known.rank) then
  put('st', e.status, 'rank', e.rank, 'raw', ARGV[3])
  -- Until the money is counted the newest telling knows best how much it is.
  if known.m ~= '1' and num(e.am) > 0 then put('am', e.am, 'cur', e.cur) end
  if known.who == '' and e.who ~= '' then put('who', e.who) end
elseif e.force ~= '1' then
  return { 'repeated', pid, '', 0, 0, '' }
end

p = p or record(key)
p.pid = pid
-- The bill may have moved on to another number. What comes under the old one is money for the same debt.
local number, a = live(p.fw or e.num, account(p.fw or e.num))

if e.back == '1' then
  if p.back ~= '1' then
    put('back', '1')
    if e.extra.undone then
      p.undone = e.extra.undone
      put('undone', p.undone)
    end
    if p.m ~= '1' then
      -- It was never counted, so there is nothing to undo and nothing left to decide.
      redis.call('ZREM', P .. 'um', pid)
      redis.call('ZREM', P .. 'up:' .. e.num, pid)
      put('why', 'returned before it was counted')
      if a then unhold(number, pid) end
    elseif not p.mt or p.mt == e.num then
      local made = a and take_back(p.fw or e.num, p, now) or 0
      return { 'advanced', pid, 'returned', 0, made, '' }
    end
  end
  return { 'advanced', pid, 'returned', 0, 0, p.mt or '' }
end

if e.counts ~= '1' then
  if e.failed == '1' and policy.fail == '1' and not known and a and a.kind == 'order' and number == e.num and a.st == 'open' then
    -- The number takes nothing more: asking to try again with it would be wrong. The new one comes with instructions.
    close(number, a, now)
    local canceled = end_shares(number, a, 'number closed', now)
    local sought = want_successor(number, a, now)
    news('number_closed', now, { number = number, balance_minor = int(total_balance(a)), currency = a.cur,
      successor = sought and '1' or '0' })
    return { 'failed', pid, '', canceled, 0, '' }
  end
  -- A customer who tries five times in a row is told once.
  if e.failed == '1' and not known and a and number == e.num and a.st == 'open' and num(a.failed) + 600000 <= num(now) then
    redis.call('HSET', P .. 'a:' .. e.num, 'failed', now)
    local facts = { am = e.am, cur = a.cur, bal = int(total_balance(a)), cr = '0', ref = e.ref, at = now, closed = '0',
      msg = e.msg }
    return { 'failed', pid, '', 0, #receipts(a, 'payment_failed', nil, pid, facts, now), '' }
  end
  return { known and 'advanced' or (e.failed == '1' and 'failed' or 'noted'), pid, '', 0, 0, '' }
end

-- Counted before: SUCCESS then SETTLED is one payment.
if p.m == '1' then return { 'advanced', pid, '', 0, 0, '' } end
-- Kept for staff already: a second telling changes nothing until they decide, unless it brings the missing amount.
if known and known.counted == '1' and e.force ~= '1' and not (known.why == 'no amount' and num(p.am) > 0) then
  return { 'advanced', pid, p.why, 0, 0, '' }
end
put('counted', '1')
if num(p.am) <= 0 then
  local kept = named(keep_for_staff(e.num, a, pid, 'no amount', now))
  return { kept[1], pid, kept[2], 0, 0, '' }
end
if not a then
  redis.call('ZADD', P .. 'up:' .. e.num, now, pid)
  redis.call('EXPIRE', P .. 'up:' .. e.num, KEEP_UNDECIDED_S)
  local kept = named(keep_for_staff(e.num, nil, pid, 'unknown number', now))
  return { kept[1], pid, kept[2], 0, 0, '' }
end
-- A customer number lives on when what was known of its old payments is gone: this one may have been counted.
if a.kind == 'customer' and not known and e.force ~= '1' and e.src ~= 'staff' and e.paid ~= '' and
    num(e.paid) < num(now) - KEEP_ACCOUNT_S * 1000 then
  local kept = named(keep_for_staff(e.num, a, pid, 'older than what is kept', now))
  return { kept[1], pid, kept[2], 0, 0, '' }
end
local was_stopped = a.st == 'stopped'
if was_stopped then
  -- The money is good; only the asking had stopped. The receipt goes out and staff are told.
  a.st = 'open'
  count('open', 1)
  -- What was stopped is not begun again under another number.
  policy.succ = ''
end
if number ~= e.num then
  p.fw = number
  put('fw', number)
  redis.call('ZADD', P .. 'pn:' .. number, now, pid)
  redis.call('EXPIRE', P .. 'pn:' .. number, KEEP_ACCOUNT_S)
end
local result = named(allocate(number, a, p, e.force == '1', now, not known))
if was_stopped then
  news('late', now, { payment = pid, number = number })
  if redis.call('HGET', P .. 'a:' .. number, 'st') == 'stopped' then
    count('open', -1)
    enlist(P .. 'owe', number, false)
    -- Its receipt says that no more is to be paid.
    redis.call('HSET', P .. 'a:' .. number, 'late', '1')
  end
end
return { result[1], pid, result[2], result[3], result[4], '' }

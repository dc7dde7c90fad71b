-- Shared by every script of a partition; library.py puts what a script needs of it after its own `#!lua` line.
--
-- KEYS[1] is the partition's prefix `tuma:{p}:`. Every key below carries that hash tag, so all of it is one slot.
-- Records:  a:<number> account   s:<sid> share   m:<sid>.<n> message   p:<pid> payment   x:<number>:<alias> payment id
--           k:<kind>:<address> contact   ids:<n> what ids stand for   c:<share id> claim whose number is not made yet, or
--           was refused (all three in the slot of their own name)
--           ad:<provider id> the message that took it for its own when its provider was asked (delivery)
-- Indexes:  timers, ask:<channel> (in doubt, to be asked about now), um (payments for staff),
--           up:<number> (payments before their share), pn:<number> (its payments), pt (all by when they were paid), dead,
--           called (list: name and number, of which a search looks through all), open (hash: claims that are, with their
--           job), cbdue and cbtry (events), hints, owe (open bills by what is owed),
--           make:u and make:b (numbers to be made: c:<claim> or n:<number whose balance needs a new one>),
--           sync (numbers of which ClickPesa must be told), all three by the ms from which they are due
-- Costs:    price: cap and price by channel, in ten-thousandths, only where a cap is set
-- Streams:  q:<channel>:u|b (group `w`), news;  lists: cb:<number>;  counters: n;  pauses: pause
--           seen: until when ClickPesa's payments are known, a copy for hand_out
-- Units: money in minor units as decimal text, time in ms since 1970 as decimal text.

local P = KEYS[1]
-- Records that a newer tuma has written are left alone, from the moment it opened the data set (engine.check_format).
local FORMAT = 3
local function newer(prefix)
  local found = string.sub(prefix, -2) == '}:' and redis.call('GET', prefix .. 'format')
  if not found or tonumber(found) <= FORMAT then return nil end
  return redis.error_reply('NEWER records of format ' .. found .. ' are here, this tuma knows up to ' .. FORMAT)
end
if newer(P) then return newer(P) end
local GROUP = 'w'
local DAY = 86400
-- TUMA_KEEP_DAYS; library.py puts what the merchant set in its place.
local KEEP_DAYS = 400
local KEEP_ACCOUNT_S = KEEP_DAYS * DAY
local KEEP_SHARE_S = math.min(90, KEEP_DAYS) * DAY
local KEEP_MESSAGE_S = math.min(30, KEEP_DAYS) * DAY
-- Money that staff have not decided about: no shorter, whatever the merchant set.
local KEEP_UNDECIDED_S = math.max(400, KEEP_DAYS) * DAY
-- A receipt is worth having for long; that an attempt failed is not.
local RECEIPT_VALID_MS = { receipt = 30 * DAY * 1000, correction = 30 * DAY * 1000, payment_failed = 6 * 3600 * 1000 }
local woken = {}
-- What the merchant decided and a script was told: succ, kind of number that a balance gets ('' none is made); sync, '1'
-- if ClickPesa can be told of changes; wait, ms that a receipt waits for a new number; back, what a returned payment
-- does (hold | resume); fail, '1' if a failed attempt closes an order number.
local policy = { succ = '', sync = '0', wait = '0', back = 'hold', fail = '0' }

-- What a script that handles many of them writes once for all: counters, entries to take off a stream, members of sorted
-- sets (key to member to score, false to take it off), ends of lists and jobs of open claims (false to drop one). A call
-- costs the server more than what most of them do.
local batch

local function count(field, by)
  if batch then
    batch.counts[field] = (batch.counts[field] or 0) + by
  else
    redis.call('HINCRBY', P .. 'n', field, by)
  end
end

local function drop(key, entry)
  if batch then
    local entries = batch.entries[key] or {}
    entries[#entries + 1] = entry
    batch.entries[key] = entries
  else
    redis.call('XACK', key, 'w', entry)
    redis.call('XDEL', key, entry)
  end
end

-- Put a member where it belongs in a sorted set, or (score false) take it off.
local function enlist(key, member, score)
  if batch then
    batch.ranks[key] = batch.ranks[key] or {}
    batch.ranks[key][member] = score
  elseif score then
    redis.call('ZADD', key, score, member)
  else
    redis.call('ZREM', key, member)
  end
end

-- When something of this partition is to happen (the members are told in due.lua), in ms; false: not any more.
local function timer(member, at) enlist(P .. 'timers', member, at) end

-- Under which name a number can be found by staff.
local function call_it(name, number)
  local entry = name .. '\31' .. number
  if batch then batch.names[#batch.names + 1] = entry else redis.call('RPUSH', P .. 'called', entry) end
end

-- The job of a claim while that is open, with the ms since when; false drops it.
local function open_job(name, text)
  if batch then
    batch.jobs[name] = text
  elseif text then
    redis.call('HSET', P .. 'open', name, text)
  else
    redis.call('HDEL', P .. 'open', name)
  end
end

local function is_open(name)
  if batch and batch.jobs[name] ~= nil then return batch.jobs[name] ~= false end
  return redis.call('HEXISTS', P .. 'open', name) == 1
end

-- What a producer's id stands for, once it has a number. There are more of these than of anything else and they stay
-- for long, so many share one hash (keys.ids) and each is one text: version, day, digest, sid, number, kind of a bill
-- that tuma made. bot.engine.retention drops the old ones.
local function id_of(key, name)
  local text = redis.call('HGET', key, name)
  if not text then return nil end
  local d, sid, number, kind = string.match(text, '^1 %d+ (%S+) (%S+) (%S+) ?(%S*)$')
  return { d = d, sid = sid, num = number, kind = kind }
end
local function keep_id(key, name, id, now)
  local day = string.format('%.0f', math.floor(tonumber(now) / (DAY * 1000)))
  redis.call('HSET', key, name, table.concat({ '1', day, id.d, id.sid, id.num, id.kind }, ' '))
end

-- Lua takes only so many arguments from a table.
local function in_parts(list, write)
  for first = 1, #list, 1000 do write(first, math.min(first + 999, #list)) end
end

-- What was gathered for one key, by member: what `put` gives it (ZADD wants that before the member, HSET after it), or
-- false, where `take` drops it.
local function write_members(key, members, put, take)
  local on, off = {}, {}
  for member, value in pairs(members) do
    if not value then
      off[#off + 1] = member
    else
      on[#on + 1] = put == 'ZADD' and value or member
      on[#on + 1] = put == 'ZADD' and member or value
    end
  end
  in_parts(on, function(first, last) redis.call(put, key, unpack(on, first, last)) end)
  in_parts(off, function(first, last) redis.call(take, key, unpack(off, first, last)) end)
end

-- Run `each` on every item. Should one of them break it, what was done for those before it is written all the same.
local function in_batch(items, each)
  batch = { counts = {}, entries = {}, ranks = {}, names = {}, jobs = {} }
  local fine, broken = pcall(function()
    for _, item in ipairs(items) do each(item) end
  end)
  local written = batch
  batch = nil
  for field, by in pairs(written.counts) do
    if by ~= 0 then count(field, by) end
  end
  for key, entries in pairs(written.entries) do
    in_parts(entries, function(first, last)
      redis.call('XACK', key, 'w', unpack(entries, first, last))
      redis.call('XDEL', key, unpack(entries, first, last))
    end)
  end
  for key, members in pairs(written.ranks) do write_members(key, members, 'ZADD', 'ZREM') end
  write_members(P .. 'open', written.jobs, 'HSET', 'HDEL')
  in_parts(written.names, function(first, last) redis.call('RPUSH', P .. 'called', unpack(written.names, first, last)) end)
  if not fine then error(broken) end
end

-- A record as a map, and as the flat list it came as; nil if there is none.
local function record(key)
  local flat = redis.call('HGETALL', key)
  if #flat == 0 then return nil end
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map, flat
end

-- What decides how a contact can be reached, a flat list of field and value; second value: did they decide anything?
local SAID = { 'x:sms', 'x:whatsapp', 'x:email', 'x:telegram', 'chat', 'w', 'y:sms', 'y:whatsapp', 'y:email',
  'y:telegram' }
local function said_by(key)
  local values, found, decided = redis.call('HMGET', key, unpack(SAID)), {}, false
  for i = 1, #SAID do
    if values[i] then
      decided = decided or i < 5 or i > 6
      if i < 7 then
        found[#found + 1] = SAID[i]
        found[#found + 1] = values[i]
      end
    end
  end
  return found, decided
end

local function account(number) return record(P .. 'a:' .. number) end
-- What a key says, or what nearly every record would say, is not kept beside it: a share's sid, the channels it wants
-- where they are those it has, a message's attempts before the first.
local function filled(map, flat, field, value)
  if not map or map[field] then return end
  map[field] = value
  flat[#flat + 1] = field
  flat[#flat + 1] = value
end
local function share(sid)
  local map, flat = record(P .. 's:' .. sid)
  filled(map, flat, 'sid', sid)
  return map, flat
end
-- What a message that was sent or arrived needs of its share: reading all of it costs several times as much.
local OF_SHARE = { 'id', 'num', 'cw', 'cb', 'okc' }
local function brief(sid)
  local values = redis.call('HMGET', P .. 's:' .. sid, unpack(OF_SHARE))
  if not values[1] then return nil end
  local s = { sid = sid }
  for i, field in ipairs(OF_SHARE) do s[field] = values[i] or nil end
  return s
end
local function message(id)
  local map, flat = record(P .. 'm:' .. id)
  filled(map, flat, 'a', '0')
  return map, flat
end
local function sid_of(id) return string.match(id, '^(.*)%.%d+$') end
local function seq_of(id) return string.match(id, '%.(%d+)$') end

local function num(text) return tonumber(text or '0') or 0 end
-- Lua prints whole numbers above 1e14 in exponent form; money and times go through here.
local function int(value) return string.format('%.0f', value) end

local function words(text)
  local list = {}
  for word in string.gmatch(text or '', '%S+') do list[#list + 1] = word end
  return list
end

-- Terms are the merchant's own words and may hold spaces, so a control character stands between them.
local function terms_of(a)
  local list = {}
  for term in string.gmatch(a.T or '', '[^\31]+') do list[#list + 1] = term end
  return list
end

local function stream(channel, lane) return P .. 'q:' .. channel .. ':' .. lane end

-- Lua cannot block, so waiting workers are told; a slow sweep covers a lost word. The word is the channel, for bulk
-- with ` b` behind it: a worker that may send no bulk now need not look.
local function wake(channel, lane)
  local word = lane == 'b' and channel .. ' b' or channel
  if not woken[word] then
    woken[word] = true
    redis.call('SPUBLISH', P .. 'wake', word)
  end
end

-- What a page of this number shows has changed: whoever looks at one is told (engine/live.py).
local function changed(number) redis.call('SPUBLISH', P .. 'live', number) end

-- What staff should see. The stream is capped: it is a notice board, the records are the truth.
local function news(kind, now, data)
  redis.call('XADD', P .. 'news', 'MAXLEN', '~', '2000', '*', 'type', kind, 'at', now, 'data', cjson.encode(data))
end

-- An event for the producer's callback_url, delivered in order per number.
local function event(s, kind, now, data)
  if not s.cb or s.cb == '' then return end
  data.share = s.id
  data.number = s.num
  local id = 'evt_' .. s.sid .. '_' .. redis.call('HINCRBY', P .. 's:' .. s.sid, 'ev', 1)
  redis.call('RPUSH', P .. 'cb:' .. s.num,
    cjson.encode({ id = id, type = kind, at = now, url = s.cb, data = data }))
  redis.call('ZADD', P .. 'cbdue', 'NX', now, s.num)
end

-- Instructions and reminders stop at payment; receipts and notices of a failed payment do not.
local function fenced(kind)
  return kind == 'instructions' or kind == 'reminder' or kind == 'bill_changed'
end

-- mv is what moved to the number that came after this one; tb what was paid under the numbers before it;
-- tt when the term began.
local function balance(a, term)
  return num(a['ta:' .. term]) - num(a['tp:' .. term]) - num(a['mv:' .. term])
end

local function total_balance(a)
  local owed = 0
  for _, term in ipairs(terms_of(a)) do owed = owed + math.max(balance(a, term), 0) end
  return owed
end

-- A bill may have moved on to other numbers: the one that stands for it now.
local function live(number, a)
  while a and a.next do
    number = a.next
    a = account(number)
  end
  return number, a
end

-- Open bills by what is owed, so that money which names no bill can be given to one.
local function note_owed(number, a)
  enlist(P .. 'owe', number, a.st == 'open' and int(total_balance(a)))
end

-- ClickPesa must hear what this number stands at; the version tells a later change from the one that was told.
local function tell_clickpesa(number, now)
  if policy.sync ~= '1' then return end
  if redis.call('EXISTS', P .. 'a:' .. number) == 1 then redis.call('HINCRBY', P .. 'a:' .. number, 'sv', 1) end
  redis.call('ZADD', P .. 'sync', now, number)
  wake('create')
end

-- Staff stopped or cancelled the bill, and have not let it go on since: nothing begins anew, whatever its money does.
local function given_up(a) return a.halt == '1' or a.cxl == '1' end

-- What is owed under a number that takes no more money gets a new number, if tuma may make one.
local function want_successor(number, a, now)
  if policy.succ == '' or a.next or a.st ~= 'closed' or total_balance(a) <= 0 or given_up(a) then return false end
  redis.call('HSET', P .. 'a:' .. number, 'nxk', policy.succ)
  redis.call('HDEL', P .. 'a:' .. number, 'nxw')
  redis.call('ZADD', P .. 'make:u', 'NX', now, 'n:' .. number)
  wake('create')
  return true
end

-- The pay fence: may this share still ask for money? Second value says why not.
local function payable(a, s)
  if not a then return false, 'unknown number' end
  if s.st == 'stopped' or a.st == 'stopped' then return false, 'stopped' end
  if a.st ~= 'open' then return false, a.st == 'closed' and 'number closed' or 'paid' end
  if s.st ~= 'active' or balance(a, s.term) <= 0 then return false, 'paid' end
  return true
end

-- When reminders of this bill may go on, in ms; 0 when nothing holds them. `kept` counts its payments that staff must
-- decide about.
local function held_until(a, now)
  if num(a.kept) > 0 then return num(now) + 600000 end
  local hold = num(a.hold)
  return hold > num(now) and hold or 0
end

local function suppressed(s, channel) return s['x:' .. channel] end

-- Nothing more goes to this share over a channel. A no of the person's own stands, whatever else comes to be known.
local function silence(s, channel, why)
  if s['x:' .. channel] == 'opted out' then return end
  s['x:' .. channel] = why
  redis.call('HSET', P .. 's:' .. s.sid, 'x:' .. channel, why)
end

local ADDRESS = { sms = 'a:phone', whatsapp = 'a:phone', email = 'a:email', telegram = 'a:telegram' }
local function address(s, channel)
  local to = s[ADDRESS[channel]]
  if to and to ~= '' then return to end
end

local function enqueue(id, m, now)
  local entry = redis.call('XADD', stream(m.ch, m.ln), '*', 'm', id)
  redis.call('HSET', P .. 'm:' .. id, 'st', 'queued', 'e', entry)
  m.st, m.e = 'queued', entry
  wake(m.ch, m.ln)
end

-- Take a message out of whatever it waits in; the record stays.
local function leave(id, m)
  if m.st == 'scheduled' then
    timer('m:' .. id, false)
  elseif m.e and m.e ~= '' then
    drop(stream(m.ch, m.ln), m.e)
  end
  if m.st == 'in_doubt' then
    timer('d:' .. id, false)
    redis.call('ZREM', P .. 'ask:' .. m.ch, id)
  end
end

-- What sending costs, as workers and schedulers were told; a share's `sp` is what its messages have cost.
local prices
local function price(channel)
  prices = prices or record(P .. 'price') or {}
  return num(prices[channel])
end

local function spend(sid, amount)
  if amount ~= 0 and redis.call('EXISTS', P .. 's:' .. sid) == 1 then
    redis.call('HINCRBY', P .. 's:' .. sid, 'sp', int(amount))
  end
end

-- It was charged as one segment; one that may have been sent before, too, may have been paid for twice.
local function charge_rest(id, m, seg)
  local segments = m.ch == 'sms' and math.max(num(seg), 1) or 1
  spend(sid_of(id), num(m.c) * (segments * (m.dup == '1' and 2 or 1) - 1))
end

local function move(id, m, to)
  count(m.st, -1)
  count(to, 1)
  redis.call('HSET', P .. 'm:' .. id, 'st', to)
  m.st = to
end

-- Off the list of dead letters: it was mended, sent again, or nobody needs it any more. The record stays for its time.
local function unbury(id, m)
  if redis.call('ZREM', P .. 'dead', id) == 0 then return end
  redis.call('HDEL', P .. 's:' .. sid_of(id), 'd:' .. seq_of(id))
  if m.st == 'done' then redis.call('EXPIRE', P .. 'm:' .. id, KEEP_MESSAGE_S) end
end

local function waits(m) return m ~= nil and (m.st == 'scheduled' or m.st == 'queued') end

-- also: further fields to write, a flat list
local function done(id, m, outcome, why, now, also)
  local doubted = m.st == 'in_doubt'
  -- What certainly never left costs nothing.
  if m.c and outcome ~= 'sent' and not doubted and m.dup ~= '1' then spend(sid_of(id), -num(m.c)) end
  if m.dup == '1' and waits(m) then
    -- The second one never went out.
    redis.call('HDEL', P .. 'm:' .. id, 'dup')
    count('duplicates', -1)
  end
  leave(id, m)
  count(m.st, -1)
  count('done', 1)
  count('o:' .. outcome, 1)
  redis.call('HSET', P .. 'm:' .. id, 'st', 'done', 'o', outcome, 'why', why or '', 'end', now, 'e', '',
    unpack(also or {}))
  m.st, m.o = 'done', outcome
  redis.call('EXPIRE', P .. 'm:' .. id, KEEP_MESSAGE_S)
  if m.rg == '1' then timer('c:' .. id, false) end
  if doubted then unbury(id, m) end
end

-- What nobody will send any more, for staff to see, mend and replay. Of a bill that asks for nothing there is nothing
-- to mend. A dead letter outlives other done messages: it stays until staff act, or as long as its share.
local function bury(id, m, now, why)
  local s = share(sid_of(id))
  if not s or (fenced(m.k) and not payable(account(m.num), s)) then return end
  redis.call('ZADD', P .. 'dead', now, id)
  redis.call('HSET', P .. 'm:' .. id, 'dw', why)
  redis.call('HSET', P .. 's:' .. s.sid, 'd:' .. seq_of(id), '1')
  local left = redis.call('TTL', P .. 's:' .. s.sid)
  if left < 0 then
    redis.call('PERSIST', P .. 'm:' .. id)
  elseif left > KEEP_MESSAGE_S then
    redis.call('EXPIRE', P .. 'm:' .. id, left)
  end
  if m.dw == why then return end
  news('dead', now, { message = id, number = m.num, channel = m.ch, kind = m.k, why = why,
    held = m.st == 'in_doubt' and '1' or '0' })
end

-- Whether nobody knows if this message arrived: it waits for an answer, or ended without one.
local function maybe_arrived(m)
  return m.st == 'in_doubt' or string.find(m.dw or m.why or '', '^in doubt') ~= nil
end

-- The share has ended, so nobody needs its dead letters any more. What was no request for money is still owed.
local function lay_to_rest(id, m, why, now)
  if not fenced(m.k) then
    local left = redis.call('TTL', P .. 's:' .. sid_of(id))
    if left > KEEP_MESSAGE_S and m.st == 'done' then redis.call('EXPIRE', P .. 'm:' .. id, left) end
  elseif m.st == 'in_doubt' then
    done(id, m, 'canceled', why .. ', while in doubt', now)
  else
    unbury(id, m)
  end
end

local function postpone(id, m, at)
  leave(id, m)
  redis.call('HSET', P .. 'm:' .. id, 'due', int(num(at)), 'e', '')
  move(id, m, 'scheduled')
  timer('m:' .. id, at)
end

-- One voice: a waiting older message of this share and channel gives way to message number n.
local function supersede(s, channel, n, now)
  local field = 'l:' .. channel
  if s[field] then
    local old = s.sid .. '.' .. s[field]
    local m = message(old)
    if waits(m) then done(old, m, 'superseded', 'a newer message', now) end
    if m and m.st == 'in_doubt' then done(old, m, 'superseded', 'in doubt, and a newer message', now) end
  end
  s[field] = n
  redis.call('HSET', P .. 's:' .. s.sid, field, n)
end

-- A first route speaks on one channel at a time: what still waits on another of its rungs, or would move on to one, gives
-- way to a new wish, too. There, l: names a message that may be another channel's.
local function one_wish(s, channel, n, now)
  for _, ch in ipairs(words(s.want or s.ch)) do
    if ch ~= channel and s['l:' .. ch] then supersede(s, ch, n, now) end
  end
end

local function usable(s, channel) return address(s, channel) and not suppressed(s, channel) end

-- Whether a bill's cost cap leaves room for one more message on this channel.
local function affordable(a, s, channel)
  local cost = price(channel)
  if cost == 0 or not prices.cap then return true end
  local spent = cost
  for field, term in pairs(a) do
    local sid = string.match(field, '^sh:(.*)$')
    if sid and term == s.term then spent = spent + num(redis.call('HGET', P .. 's:' .. sid, 'sp')) end
  end
  return spent <= num(prices.cap)
end

-- Staff are told once per bill.
local function over_cap(a, s, now)
  if redis.call('HSETNX', P .. 'a:' .. s.num, 'cap:' .. s.term, now) == 1 then
    news('cost_cap', now, { number = s.num, term = s.term, share = s.id })
  end
end

-- The next channel of a first route after `channel` (nil: from the start); with an account only one within its cap.
local function next_channel(s, channel, a)
  local passed = channel == nil
  for _, ch in ipairs(words(s.ch)) do
    if passed and usable(s, ch) and (not a or affordable(a, s, ch)) then return ch end
    if ch == channel then passed = true end
  end
end

-- opt: at (ms, when not at once), lane, valid (ms), pay (payment id), extra (JSON text), rung ('1' on a first route),
-- dup ('1': the customer may have it already), wish (ms, when the message was made in whose place this one comes),
-- num (the number it is about, if not the share's own), nn (the number that came after it), n (which of the share's
-- messages it is, where the share was written with it)
local function create(s, kind, channel, opt, now)
  local n = opt.n or redis.call('HINCRBY', P .. 's:' .. s.sid, 'n', 1)
  local id = s.sid .. '.' .. n
  if fenced(kind) and not opt.n then
    supersede(s, channel, int(n), now)
    if opt.rung and not opt.wish then one_wish(s, channel, int(n), now) end
  end
  local later = opt.at and num(opt.at) > num(now)
  local m = { ch = channel, ln = opt.lane or s.ln, k = kind, st = later and 'scheduled' or 'queued',
    num = opt.num or s.num }
  local fields = { 'v', '1', 'ch', channel, 'k', kind, 'ln', m.ln, 'num', m.num, 'at', now, 'val', opt.valid }
  local function put(...)
    for _, part in ipairs({ ... }) do fields[#fields + 1] = part end
  end
  if opt.wish then put('wish', opt.wish) end
  if opt.rung then put('rg', '1') end
  if opt.pay then put('pay', opt.pay, 'j', opt.extra) end
  if opt.nn then put('nn', opt.nn) end
  if opt.dup then
    put('dup', '1')
    count('duplicates', 1)
  end
  local cost = price(channel)
  if cost > 0 then
    put('c', int(cost))
    spend(s.sid, cost)
  end
  count('created', 1)
  count(m.st, 1)
  if later then
    put('st', 'scheduled', 'due', opt.at)
    timer('m:' .. id, opt.at)
  else
    put('st', 'queued', 'e', redis.call('XADD', stream(channel, m.ln), '*', 'm', id))
    wake(channel, m.ln)
  end
  redis.call('HSET', P .. 'm:' .. id, unpack(fields))
  -- Its clock runs from the start, so that a rung that never gets out (paused, retried for ever) is given up too.
  if opt.rung and next_channel(s, channel) then
    timer('c:' .. id, int(num(later and opt.at or now) + num(s.cw)))
  end
  return id
end

-- The channels on which a share speaks now: all of them, or the one that worked, else the first that can; with an
-- account the one that is within its cap.
local function voices(s, a)
  if s.rm == 'all' then
    local list = {}
    for _, ch in ipairs(words(s.ch)) do
      if usable(s, ch) then list[#list + 1] = ch end
    end
    return list
  end
  local worked = s.okc and usable(s, s.okc) and (not a or affordable(a, s, s.okc))
  local ch = worked and s.okc or next_channel(s, nil, a)
  return ch and { ch } or {}
end

-- With an account its cost cap holds; second value: whether it kept anything from being said.
local function speak(s, kind, opt, now, a)
  local made, list, capped = {}, voices(s, a), false
  for _, ch in ipairs(list) do
    if not a or affordable(a, s, ch) then
      opt.rung = s.rm == 'first' and '1' or nil
      made[#made + 1] = create(s, kind, ch, opt, now)
    else
      capped = true
    end
  end
  if a and #list == 0 then capped = next_channel(s) ~= nil end
  if capped then over_cap(a, s, now) end
  return made, capped
end

-- A rung failed or was not confirmed: go on to the next. Once per message. True if there was a next one.
local function advance(id, m, s, a, now)
  if m.rg ~= '1' or m.by or redis.call('HSETNX', P .. 'm:' .. id, 'adv', '1') == 0 then return false end
  if fenced(m.k) and (not payable(a, s) or s['l:' .. m.ch] ~= seq_of(id)) then return false end
  local ch = next_channel(s, m.ch, fenced(m.k) and a or nil)
  if not ch then
    if next_channel(s, m.ch) then
      over_cap(a, s, now)
    else
      news('exhausted', now, { message = id, number = s.num, share = s.id, kind = m.k })
    end
    event(s, 'share.exhausted', now, { kind = m.k })
    return false
  end
  local valid = int(math.max(num(m.val), num(now) + num(s.cw)))
  local made = create(s, m.k, ch, { lane = m.ln, valid = valid, pay = m.pay, extra = m.j, rung = '1',
    wish = m.wish or m.at, num = m.num, nn = m.nn }, now)
  redis.call('HSET', P .. 'm:' .. id, 'nx', made)
  return true
end

-- The customer has it on this rung; a later one of the same wish says nothing new. What waits or is in doubt ends; what a
-- worker holds or has sent (by) is not tried again and moves on to no other. also: further fields of the message to
-- write, a flat list
local function confirm(id, m, s, now, also)
  if m.rg == '1' then timer('c:' .. id, false) end
  redis.call('HSET', P .. 'm:' .. id, 'cf', '1', unpack(also or {}))
  if s.okc ~= m.ch then
    redis.call('HSET', P .. 's:' .. s.sid, 'okc', m.ch)
    s.okc = m.ch
  end
  if m.rg ~= '1' then return end
  local why = 'delivered by ' .. m.ch
  for n = num(seq_of(id)) + 1, num(redis.call('HGET', P .. 's:' .. s.sid, 'n')) do
    local other = s.sid .. '.' .. int(n)
    local o = message(other)
    if o and o.rg == '1' and o.k == m.k and o.pay == m.pay and o.ch ~= m.ch and o.wish == (m.wish or m.at) then
      if waits(o) then done(other, o, 'superseded', why, now)
      elseif o.st == 'in_doubt' then done(other, o, 'superseded', 'in doubt, and ' .. why, now)
      elseif o.st == 'handed_out' or o.o == 'sent' then redis.call('HSET', P .. 'm:' .. other, 'by', m.ch) end
    end
  end
end

-- Cancel what waits for a share and its timer; returns how many messages. Its dead letters end with it.
local function hush(s, why, now)
  local canceled = 0
  timer('r:' .. s.sid, false)
  for _, ch in ipairs({ 'sms', 'whatsapp', 'email', 'telegram' }) do
    local n = s['l:' .. ch]
    local id = n and (s.sid .. '.' .. n)
    local m = id and message(id) or nil
    if waits(m) then
      done(id, m, 'canceled', why, now)
      canceled = canceled + 1
    elseif m and m.st == 'in_doubt' then
      done(id, m, 'canceled', why .. ', while in doubt', now)
    end
  end
  for field, _ in pairs(s) do
    local n = string.match(field, '^d:(%d+)$')
    local id = n and (s.sid .. '.' .. n)
    local m = id and message(id)
    if m then lay_to_rest(id, m, why, now) end
  end
  return canceled
end

-- Nobody knows whether the provider took it: `at` is when it is asked or the policy applies, `with` which provider may
-- have it ('*': any). What is looked for is every attempt from the first that was in doubt on.
local function into_doubt(id, m, at, with, now)
  leave(id, m)
  redis.call('HSETNX', P .. 'm:' .. id, 'hd', m.hat or now)
  redis.call('HSET', P .. 'm:' .. id, 'e', '', 'dat', now, 'pv', (m.pv and (m.pv .. ' ') or '') .. with)
  redis.call('HDEL', P .. 'm:' .. id, 'aq', 'aw', 'ae')
  move(id, m, 'in_doubt')
  timer('d:' .. id, at)
  local s = m.rg == '1' and share(sid_of(id))
  if m.by then done(id, m, 'superseded', 'in doubt, and delivered by ' .. m.by, now)
  elseif s then timer('c:' .. id, int(num(now) + num(s.cw))) end
end

-- The provider told of it before whoever sent it could: it is no question whether it was taken.
local function told(m) return m.pid ~= nil and m.pid ~= '' end

local function taken(id, m, s, now)
  redis.call('HSET', P .. 'm:' .. id, 'sat', m.hat or now)
  done(id, m, 'sent', 'the provider confirmed it', now)
  event(s, 'message.sent', now, { message = id, channel = m.ch, kind = m.k })
  if m.cf == '1' then return confirm(id, m, s, now) end
  if m.rg == '1' and num(m.dr) < 4 then
    timer('c:' .. id, int(num(now) + num(s.cw)))
  end
end

-- The provider took what was sent again after a doubt, and the first one too: the customer has it twice.
local function taken_twice(id, m, pid)
  if not told(m) or m.pid == pid or num(m.a) < 2 then return end
  if string.find(' ' .. (m.pid2 or '') .. ' ', ' ' .. pid .. ' ', 1, true) then return end
  m.pid2 = m.pid2 and (m.pid2 .. ' ' .. pid) or pid
  redis.call('HSET', P .. 'm:' .. id, 'pid2', m.pid2)
  count('doubt:twice', 1)
end

local function shares_of(a)
  local list = {}
  for field, _ in pairs(a) do
    local sid = string.match(field, '^sh:(.*)$')
    if sid then list[#list + 1] = sid end
  end
  table.sort(list)
  return list
end

local function read_shares(a)
  local list = {}
  for _, sid in ipairs(shares_of(a)) do list[#list + 1] = share(sid) end
  return list
end

-- What is retained of the other messages of a number.
local function others_of(a, id)
  local list = {}
  for _, sid in ipairs(shares_of(a)) do
    for n = 1, num(redis.call('HGET', P .. 's:' .. sid, 'n')) do
      local other = sid .. '.' .. int(n)
      local o = other ~= id and message(other)
      if o then list[#list + 1] = o end
    end
  end
  return list
end

-- Whom a number was made for: the contact that it was first shared with, and whose name (nm) it may have from then.
local FIRST_CONTACT = '1'

-- The provider is asked about a message in doubt by whoever has this answer: token, message, share, account, provider
-- ids that other messages of its number own, and '1' if no other one can have reached the same person without its
-- provider id being known. Nobody else asks until `lease` ms are over. `akt` is when the question began.
local NEAR_MS = 60000
local function put_question(id, m, s, now, lease)
  local key = P .. 'm:' .. id
  redis.call('ZADD', P .. 'ask:' .. m.ch, int(num(now) + num(lease)), id)
  local token = redis.call('HINCRBY', key, 'ak', 1)
  redis.call('HSET', key, 'akt', now)
  -- To the same person, handed out at about this time or later, and nobody heard what became of it.
  local function unknown(o)
    return o.ch == m.ch and o.to == m.to and num(o.a) > 0 and not told(o) and num(o.hat) > num(m.hd or m.hat) - NEAR_MS
  end
  local owned, alone = {}, '1'
  -- What is about an old number belongs to a share that has moved on to the new one.
  for _, number in ipairs(m.num == s.num and { s.num } or { s.num, m.num }) do
    for _, o in ipairs(others_of(account(number) or {}, id)) do
      if told(o) then owned[#owned + 1] = o.pid end
      for _, pid in ipairs(words(o.pid2)) do owned[#owned + 1] = pid end
      if unknown(o) then alone = '0' end
    end
  end
  local _, flat = message(id)
  local _, flat_share = share(s.sid)
  return { int(token), flat, flat_share, redis.call('HGETALL', P .. 'a:' .. s.num), owned, alone }
end

-- Who a share's contact is on its number: shares of one contact have one group.
local function group_of(a, s)
  for _, kind in ipairs({ 'phone', 'email', 'telegram' }) do
    local to = s['a:' .. kind]
    if to and a['k:' .. kind .. ':' .. to] then return a['k:' .. kind .. ':' .. to] end
  end
  return s.sid
end

-- One receipt per payment, channel and address, and one in all for a contact that is reached by the first way that
-- works; the balance is what the customer owes after this payment. at: ms when it goes out, if not at once.
-- of: the number's shares, where they were read. Returns the ids that were made.
local function receipts(a, kind, terms, pid, facts, now, at, of)
  local made, seen = {}, {}
  for _, s in ipairs(of or read_shares(a)) do
    if not terms or terms[s.term] then
      for _, ch in ipairs(voices(s)) do
        local mark = s.rm == 'first' and ('first ' .. group_of(a, s)) or (ch .. ' ' .. address(s, ch))
        if not seen[mark] then
          seen[mark] = true
          made[#made + 1] = create(s, kind, ch, { lane = 'u', valid = int(num(now) + RECEIPT_VALID_MS[kind]),
            pay = pid, extra = cjson.encode(facts), rung = s.rm == 'first' and '1' or nil, at = at, num = facts.num }, now)
        end
      end
    end
  end
  return made
end

-- Receipts that wait for a number's successor go out: with it, or without.
local function release(a, number, now, successor)
  local served = {}
  for _, id in ipairs(words(a.nxr)) do
    local m = message(id)
    if m and m.st == 'scheduled' then
      leave(id, m)
      if successor then redis.call('HSET', P .. 'm:' .. id, 'nn', successor) end
      move(id, m, 'queued')
      enqueue(id, m, now)
      local s = successor and share(sid_of(id))
      if s then served[group_of(a, s)] = true end
    end
  end
  redis.call('HDEL', P .. 'a:' .. number, 'nxr')
  return served
end

-- A payment that staff must decide about holds what still asks for money under its number, or the one it moved to.
local function hold(number, pid)
  if redis.call('HSETNX', P .. 'p:' .. pid, 'kp', '1') == 1 then
    redis.call('HINCRBY', P .. 'a:' .. number, 'kept', 1)
    changed(number)
  end
end

local function unhold(number, pid)
  if redis.call('HDEL', P .. 'p:' .. pid, 'kp') == 1 then
    local lives = live(number, account(number))
    redis.call('HINCRBY', P .. 'a:' .. lives, 'kept', -1)
    changed(lives)
  end
end

-- Money that ClickPesa took on this very number, and not staff at the counter or for another one.
local function direct(number, p) return p.src ~= 'staff' and p.num == number end

local function keep_for_staff(number, a, pid, why, now)
  redis.call('HSET', P .. 'p:' .. pid, 'm', '0', 'why', why)
  redis.call('EXPIRE', P .. 'p:' .. pid, KEEP_UNDECIDED_S)
  if a then hold(number, pid) end
  redis.call('ZADD', P .. 'um', now, pid)
  news('unmatched', now, { payment = pid, number = number, why = why })
  return { 'unmatched', why, 0, 0 }
end

-- An order number takes one payment: from then on (shut) nobody can pay to it, whatever we make of the money, and also
-- if staff stop the bill before its balance has a new number.
local function close(number, a, now)
  if a.st == 'open' then count('open', -1) end
  a.st = 'closed'
  redis.call('HSET', P .. 'a:' .. number, 'st', 'closed', 'shut', '1')
  redis.call('EXPIRE', P .. 'a:' .. number, KEEP_ACCOUNT_S)
  note_owed(number, a)
  changed(number)
end

-- The shares of a number that ask for nothing any more end; how many messages were cancelled. of: as for receipts.
local function end_shares(number, a, why, now, of)
  local canceled = 0
  for _, s in ipairs(of or read_shares(a)) do
    if s.num == number and (a.st ~= 'open' or balance(a, s.term) <= 0) then
      if s.st == 'active' then
        s.st = 'paid'
        redis.call('HSET', P .. 's:' .. s.sid, 'st', 'paid')
        redis.call('EXPIRE', P .. 's:' .. s.sid, KEEP_SHARE_S)
      end
      canceled = canceled + hush(s, why, now)
    end
  end
  return canceled
end

-- Receipts are numbered without gaps within a partition, in the step in which the money counts.
local function receipt_number(p)
  return p.rn or ('R' .. string.match(P, '{(%d+)}') .. '-' .. redis.call('HINCRBY', P .. 'n', 'receipts', 1))
end

-- Whether an exact bill takes this amount: what is owed for the oldest term, or for all of them together.
local function exactly(a, first, amount)
  return a['tm:' .. first] ~= 'exact' or amount == balance(a, first) or amount == total_balance(a)
end

-- The terms of a payment, for who is told of it; nil, which is everybody, where one has no share: what asked for an old
-- term that was carried over asks for the new one now.
local function spoken_for(a, told)
  local spoken = {}
  for _, sid in ipairs(shares_of(a)) do spoken[a['sh:' .. sid]] = true end
  for term, _ in pairs(told) do
    if not spoken[term] then return nil end
  end
  return next(told) and told or nil
end

-- The payments of a number follow when `amount` of what they paid counts otherwise: from one field of theirs to another,
-- the newest first. `also`: a field that tells how much of it came that way.
local function recount(number, from, to, amount, also)
  local ids = amount > 0 and redis.call('ZREVRANGE', P .. 'pn:' .. number, 0, -1) or {}
  for _, pid in ipairs(ids) do
    local p = record(P .. 'p:' .. pid)
    local part = p and p.m == '1' and p.back ~= '1' and (p.fw or p.num) == number and math.min(num(p[from]), amount) or 0
    if part > 0 then
      amount = amount - part
      if redis.call('HINCRBY', P .. 'p:' .. pid, from, '-' .. int(part)) == 0 then redis.call('HDEL', P .. 'p:' .. pid, from) end
      redis.call('HINCRBY', P .. 'p:' .. pid, to, int(part))
      if also then redis.call('HINCRBY', P .. 'p:' .. pid, also, int(part)) end
    end
  end
end

-- What was paid above one bill of a number is credit, and credit pays what is owed for another, the oldest first: who
-- paid too much is not asked for it again. cu is what of a term was paid so.
local function use_credit(number, a)
  local key = P .. 'a:' .. number
  local function add(field, by)
    a[field] = int(num(a[field]) + by)
    redis.call('HSET', key, field, a[field])
  end
  for _, term in ipairs(terms_of(a)) do
    local above = num(a['tp:' .. term]) - math.max(num(a['ta:' .. term]) - num(a['mv:' .. term]), 0)
    if above > 0 then
      add('tp:' .. term, -above)
      add('credit', above)
      if num(a['cu:' .. term]) > 0 then add('cu:' .. term, -math.min(num(a['cu:' .. term]), above)) end
      recount(number, 'al:' .. term, 'cr', above)
    end
  end
  for _, term in ipairs(terms_of(a)) do
    local take = math.min(num(a.credit), math.max(balance(a, term), 0))
    if take > 0 then
      add('tp:' .. term, take)
      add('credit', -take)
      add('cu:' .. term, take)
      recount(number, 'cr', 'al:' .. term, take, 'cu:' .. term)
    end
  end
end

local function has_exact(a)
  for _, term in ipairs(terms_of(a)) do
    if a['tm:' .. term] == 'exact' then return true end
  end
  return false
end

-- Give one payment to the bills of its number, oldest unpaid first.
-- force: staff decided, so neither the exact amount nor a closed number stands in the way. new: nobody heard of this
-- payment before, so nothing is to be taken back that was noted of it. a and p are as they are on record.
-- Returns { outcome, reason, canceled, receipts }.
local function allocate(number, a, p, force, now, new)
  local key = P .. 'a:' .. number
  local rest, before = num(p.am), total_balance(a)
  local here = direct(number, p)
  local shut = a.kind == 'order' and (a.st == 'settled' or a.st == 'closed') and before <= 0
  local first
  for _, term in ipairs(terms_of(a)) do
    if balance(a, term) > 0 then first = term break end
  end
  local why = p.cur ~= a.cur and 'currency'
    or (shut and not force and 'the order number is closed')
    or (first and not force and not exactly(a, first, rest) and 'wrong amount on an exact bill')
  if why then
    if here and a.kind == 'order' then redis.call('HSET', key, 'shut', '1') end
    return keep_for_staff(number, a, p.pid, why, now)
  end
  local told, mine, last = {}, {}, ''
  a.paid = int(num(a.paid) + num(p.am))
  p.rn = receipt_number(p)
  -- One write each costs less than one for every field.
  local of_a, of_p = { 'paid', a.paid, 'pd', now }, { 'm', '1', 'why', '', 'rn', p.rn }
  local function put(fields, field, value)
    fields[#fields + 1] = field
    fields[#fields + 1] = value
  end
  for _, term in ipairs(terms_of(a)) do
    local take = math.min(rest, math.max(balance(a, term), 0))
    if take > 0 then
      a['tp:' .. term] = int(num(a['tp:' .. term]) + take)
      put(of_a, 'tp:' .. term, a['tp:' .. term])
      put(of_p, 'al:' .. term, int(num(p['al:' .. term]) + take))
      rest = rest - take
      told[term], mine['al:' .. term] = true, int(take)
    end
    last = term
  end
  if rest > 0 then
    redis.call('HINCRBY', key, 'credit', int(rest))
    -- The newest bill of now is the one on whose page it is told.
    put(of_p, 'cr', int(rest))
    put(of_p, 'ct', last)
  end
  local owed = total_balance(a)
  local closed = a.kind == 'order' and owed > 0 and (here or a.shut == '1' or a.st == 'closed')
  if owed <= 0 then
    if a.st == 'open' then count('open', -1) end
    a.st = 'settled'
    put(of_a, 'st', a.st)
  end
  redis.call('HSET', key, unpack(of_a))
  redis.call('HSET', P .. 'p:' .. p.pid, unpack(of_p))
  if not new then
    redis.call('ZREM', P .. 'um', p.pid)
    unhold(number, p.pid)
  end
  if closed then
    close(number, a, now)
  elseif owed <= 0 then
    redis.call('EXPIRE', key, KEEP_ACCOUNT_S)
  end
  note_owed(number, a)
  changed(number)
  -- ClickPesa knows what was paid to the number itself; of other money it must be told. An exact number takes nothing
  -- but the amount that it has there, so there it must be the rest.
  if a.st ~= 'closed' and (not here or (owed > 0 and has_exact(a))) then tell_clickpesa(number, now) end
  local shares = read_shares(a)
  local canceled = end_shares(number, a, closed and 'number closed' or 'paid', now, shares)
  for _, s in ipairs(shares) do
    event(s, 'payment.received', now, { payment = p.pid, amount_minor = p.am, currency = p.cur,
      balance_minor = int(owed), status = a.st })
  end
  if owed <= 0 and a.nxr then release(a, number, now) end
  local at = want_successor(number, a, now) and int(num(now) + num(policy.wait)) or nil
  local facts = { am = p.am, cur = p.cur, bal = int(owed), cr = int(rest), ref = p.rn, at = p.paid or now,
    closed = closed and '1' or '0', num = number, ch = p.ch, ct = last }
  for field, take in pairs(mine) do facts[field] = take end
  local made = receipts(a, 'receipt', spoken_for(a, told), p.pid, facts, now, at, shares)
  if at then redis.call('HSET', key, 'nxr', ((a.nxr or '') .. ' ' .. table.concat(made, ' '))) end
  news('paid', now, { payment = p.pid, number = number, amount_minor = p.am, currency = p.cur,
    balance_minor = int(owed), status = a.st })
  if closed then
    news('number_closed', now, { number = number, balance_minor = int(owed), currency = a.cur,
      successor = at and '1' or '0' })
  end
  local outcome = rest > 0 and 'over' or (owed > 0 and 'partial' or 'settled')
  return { outcome, '', canceled, #made }
end

-- Let a share ask again: its next reminder is the first of its plan that is still to come.
local function wake_share(s, now)
  redis.call('HSET', P .. 's:' .. s.sid, 'st', 'active')
  redis.call('PERSIST', P .. 's:' .. s.sid)
  s.st = 'active'
  local plan = words(s.plan)
  local at = 0
  while plan[at + 1] and num(plan[at + 1]) <= num(now) do at = at + 1 end
  redis.call('HSET', P .. 's:' .. s.sid, 'ri', int(at))
  if plan[at + 1] then timer('r:' .. s.sid, plan[at + 1])
  else timer('r:' .. s.sid, false) end
end

-- A number asks again for what is owed. What staff stopped goes on only where they say so (stopped: true).
local function reopen(number, a, now, stopped)
  if a.st ~= 'open' then count('open', 1) end
  a.st = 'open'
  redis.call('HSET', P .. 'a:' .. number, 'st', 'open')
  redis.call('PERSIST', P .. 'a:' .. number)
  for _, sid in ipairs(shares_of(a)) do
    local s = share(sid)
    local may = s and s.num == number and (s.st == 'paid' or (stopped and s.st == 'stopped'))
    if may and balance(a, s.term) > 0 then wake_share(s, now) end
  end
  changed(number)
end

-- What is owed under a number that has a successor is owed under that one; returns the number that stands for it now.
local function pass_on(number, a)
  while a.next do
    local to, b = a.next, account(a.next)
    for _, term in ipairs(terms_of(a)) do
      local owed = balance(a, term)
      if owed > 0 then
        redis.call('HINCRBY', P .. 'a:' .. number, 'mv:' .. term, int(owed))
        redis.call('HINCRBY', P .. 'a:' .. to, 'ta:' .. term, int(owed))
        redis.call('HINCRBY', P .. 'a:' .. to, 'tb:' .. term, '-' .. int(owed))
      end
    end
    number, a = to, account(to)
  end
  return number, a
end

-- Money that was counted went back to the payer: it is owed again, and whoever has a receipt for it is told. Returns
-- how many messages that are.
local function take_back(number, p, now)
  local key, a = P .. 'a:' .. number, account(number)
  local told = {}
  for field, taken in pairs(p) do
    local term = string.match(field, '^al:(.*)$')
    if term then
      redis.call('HINCRBY', key, 'tp:' .. term, '-' .. taken)
      told[term] = true
    end
    local credited = string.match(field, '^cu:(.*)$')
    if credited and num(a['cu:' .. credited]) >= num(taken) then
      redis.call('HINCRBY', key, 'cu:' .. credited, '-' .. taken)
    end
  end
  if p.cr then redis.call('HINCRBY', key, 'credit', '-' .. p.cr) end
  redis.call('HINCRBY', key, 'paid', '-' .. p.am)
  use_credit(number, account(number))
  number, a = pass_on(number, account(number))
  local owed = total_balance(a)
  if owed > 0 and a.st == 'settled' and given_up(a) then
    a.st = 'stopped'
    redis.call('HSET', P .. 'a:' .. number, 'st', a.st)
  elseif owed > 0 and a.st == 'settled' and a.kind == 'order' then
    close(number, a, now)
  elseif owed > 0 and (a.st == 'settled' or a.st == 'open') then
    reopen(number, a, now)
  end
  note_owed(number, a)
  changed(number)
  if owed > 0 and a.st ~= 'closed' then tell_clickpesa(number, now) end
  if policy.back == 'hold' then
    keep_for_staff(number, a, p.pid, 'returned: ' .. string.lower(p.st), now)
    redis.call('HSET', P .. 'p:' .. p.pid, 'm', '1')
  else
    want_successor(number, a, now)
  end
  local facts = { am = p.am, cur = p.cur, bal = int(owed), cr = '0', ref = p.rn or p.ref or p.pid, at = p.paid or now,
    closed = a.st == 'closed' and '1' or '0', num = p.fw or p.num, mist = p.undone and '1' or '0' }
  return #receipts(a, 'correction', spoken_for(a, told), p.pid, facts, now)
end

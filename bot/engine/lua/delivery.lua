#!lua flags=allow-oom
-- delivery: what a provider says of a message, by callback or because it was asked. Applied only if it raises the rank.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 message id  3 provider id  4 delivery  5 rank  6 error text or ''  7 reason to suppress or ''
--         8 channels on which it confirms the rung, apart by spaces  9 ms when an undelivered one is worth another try, or ''  10 most such tries
--         11 attempt it is about, or ''  12 '1' if it was found by asking, without knowing our id  13 segments, or ''
--         What is found so may be an older message's, with the same text to the same person, of which nobody heard:
--         what is said of that one later is said of this one, too, as it is the only one that the customer has.
-- Return  { changed, channel, address }: 1 if it changed anything, 0 if it was late or a repeat, -1 for an unknown
--         message, -2 if what was found is another message's; of the message, '' where it is unknown.
--         Cost O(1), of what was found O(messages of the number).
local now, rank = ARGV[1], num(ARGV[5])
local asked_for

local function wanted(id, m, s, a)
  if m.by then return false end
  return not fenced(m.k) or (payable(a, s) and s['l:' .. m.ch] == seq_of(id))
end

-- The provider took it and says that it did not arrive, so another one is not a second one.
local function again(id, m, s)
  if ARGV[9] == '' or num(m.rt) >= num(ARGV[10]) or num(ARGV[9]) >= num(m.val) or not usable(s, m.ch) then return false end
  local a = fenced(m.k) and account(s.num)
  if a and not affordable(a, s, m.ch) then
    over_cap(a, s, now)
    return false
  end
  local made = create(s, m.k, m.ch,
    { at = ARGV[9], lane = m.ln, valid = m.val, pay = m.pay, extra = m.j, rung = m.rg, wish = m.wish or m.at,
      num = m.num, nn = m.nn }, now)
  redis.call('HSET', P .. 'm:' .. made, 'rt', int(num(m.rt) + 1))
  -- A dead letter whose provider had it after all is on its way again: who replays it means this one.
  if m.o ~= 'sent' then
    unbury(id, m)
    redis.call('HSET', P .. 'm:' .. id, 're', made)
  end
  return true
end

local function anothers(id, s)
  for _, o in ipairs(others_of(account(s.num) or {}, id)) do
    if o.pid == ARGV[3] or string.find(' ' .. (o.pid2 or '') .. ' ', ' ' .. ARGV[3] .. ' ', 1, true) then return true end
  end
  return false
end

-- attempt: which one it is about, 0 if nobody said; found: it was found by asking.
local function apply(id, attempt, found)
  local m = message(id)
  asked_for = asked_for or m or {}
  local s = m and (rank == 4 and share or brief)(sid_of(id))
  if not s then return -1 end
  local doubted = m.st == 'in_doubt'
  local said = {}
  local again_waits = m.dup == '1' and waits(m)
  if found then
    if not doubted and not again_waits then return 0 end
    if anothers(id, s) then return -2 end
    redis.call('SET', P .. 'ad:' .. ARGV[3], id, 'EX', KEEP_MESSAGE_S)
  end
  taken_twice(id, m, ARGV[3])
  -- A callback of an earlier attempt: that it failed says nothing of the one that followed, or is about to.
  local earlier = attempt > 0 and attempt < num(m.a)
  if rank == 4 and (earlier or again_waits or (m.pid and m.pid ~= ARGV[3])) then return 0 end
  if doubted or again_waits then
    redis.call('HSET', P .. 'm:' .. id, 'pid', ARGV[3], 'dl', ARGV[4], 'dr', ARGV[5], 'sat', m.hat or now)
    if num(ARGV[13]) > 0 then
      redis.call('HSET', P .. 'm:' .. id, 'seg', ARGV[13])
      if m.c then charge_rest(id, m, ARGV[13]) end
    end
    count(found and 'doubt:adopted' or 'doubt:confirmed', 1)
    done(id, m, 'sent', found and 'found at the provider' or 'the provider confirmed it', now)
    if m.rg == '1' then timer('c:' .. id, int(num(now) + num(s.cw))) end
  elseif m.dl and m.dl ~= '' and rank <= num(m.dr) then
    return 0
  else
    said = { 'dl', ARGV[4], 'dr', ARGV[5] }
    if not m.pid then said[5], said[6] = 'pid', ARGV[3] end
  end
  event(s, 'message.' .. ARGV[4], now, { message = id, channel = m.ch, kind = m.k })
  if rank >= 5 then
    if m.dw then unbury(id, m) end
    -- Staff did not know that it had arrived when they sent it again.
    local second = m.re and message(m.re)
    if second and second.dup == '1' and waits(second) then
      done(m.re, second, 'superseded', 'the first one arrived', now)
    end
  end
  if string.find(' ' .. ARGV[8] .. ' ', ' ' .. m.ch .. ' ', 1, true) then
    confirm(id, m, s, now, said)
  elseif rank ~= 4 then
    if said[1] then redis.call('HSET', P .. 'm:' .. id, unpack(said)) end
  else
    redis.call('HSET', P .. 'm:' .. id, 'err', ARGV[6], unpack(said))
    -- The contact may have been edited since: only the address that failed is silenced.
    if ARGV[7] ~= '' and m.to == address(s, m.ch) then
      silence(s, m.ch, ARGV[7])
    end
    timer('c:' .. id, false)
    local a = account(m.num)
    -- Where the next rung has been made, that one speaks now: never two of them, and nothing for staff to mend.
    if not m.nx and not advance(id, m, s, a, now) and wanted(id, m, s, a) and not again(id, m, s) then
      bury(id, m, now, ARGV[7] ~= '' and ARGV[7] or 'undelivered')
    end
  end
  return 1
end

local found = ARGV[12] == '1'
local changed = apply(ARGV[2], num(ARGV[11]), found)
local adopter = not found and redis.call('GET', P .. 'ad:' .. ARGV[3])
if adopter and adopter ~= ARGV[2] and apply(adopter, 0, false) == 1 then changed = 1 end
return { changed, asked_for.ch or '', asked_for.to or '' }

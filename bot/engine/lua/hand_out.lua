#!lua flags=allow-oom
-- hand_out: claim a batch for one consumer, with the pay fence in the same step.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 channel  3 consumer  4 most in all  5 most of them bulk
--         6 ms when the quiet hours end, '' outside them
--         7 ms until which payments must be known for a reminder to go out, '' if it need not
--         8 ms that a provider's answer is good for, '' if nobody here asks it  9 ms of the lease of a question
--         10 message id, 11 token: this one was asked about just now and is not there; it goes out, and no other
-- Return  { list of { message id, stream entry, attempt, lane, message, share, account }, lanes (of 'u' and 'b') that
--         were looked at and may hold more, list of { message id, what `put_question` (_lib.lua) tells } };
--         message, share and account are flat field-value lists
-- Clock   the caller's for due times. Cost O(batch).
-- What is sent again after a doubt may have waited since the provider was asked, and the provider may have taken the
-- first meanwhile. With an answer that is older than ARGV[8] it is in doubt again: this consumer asks once more, with
-- the entry still its own, and then comes back with ARGV[10]. Should it die in between, another one asks (ask).
local now, channel, consumer = ARGV[1], ARGV[2], ARGV[3]
if redis.call('HEXISTS', P .. 'pause', channel) == 1 then return { {}, '', {} } end

local function read(lane, most)
  if most <= 0 or redis.call('EXISTS', stream(channel, lane)) == 0 then return {} end
  local command = { 'XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', most, 'STREAMS', stream(channel, lane), '>' }
  local reply = redis.pcall(unpack(command))
  if reply and reply.err then
    redis.call('XGROUP', 'CREATE', stream(channel, lane), GROUP, '0')
    reply = redis.call(unpack(command))
  end
  return reply and reply[1] and reply[1][2] or {}
end

-- In quiet hours nobody is asked for money, but somebody who waits for a number made just now gets it, or hears that
-- paying just now failed. A retry, a rung or a scheduled share that matures in the night does not count as just now;
-- what only a rate held up does. Money that went back is told in the morning. Receipts always go out.
local JUST_NOW_MS = 600000
local function quiet(m, s)
  if ARGV[6] == '' or m.k == 'receipt' then return false end
  local now_asked = num(m.t) == 0 and m.dup ~= '1' and num(now) - num(m.wish or m.at) < JUST_NOW_MS
  if m.k == 'payment_failed' then return not now_asked end
  return not (now_asked and m.k == 'instructions' and m.ln == 'u' and num(s.sa) <= num(s.at))
end

local accounts, flat_accounts = {}, {}
local function account_of(number)
  if accounts[number] == nil then
    local a, flat = account(number)
    accounts[number], flat_accounts[number] = a or false, flat
  end
  return accounts[number] or nil
end

-- While a payment may have been made that we have not heard of, nobody is asked for it again.
local UNKNOWN_WAIT_MS = 120000
local seen = ARGV[7] ~= '' and num(redis.call('GET', P .. 'seen')) or math.huge
local function unsure(m)
  return m.k == 'reminder' and seen < num(ARGV[7])
end

-- nil when the message may go out, else what was done with it instead.
local function held_back(id, m, s, a)
  if m.by then done(id, m, 'superseded', 'delivered by ' .. m.by, now) return true end
  if num(m.val) <= num(now) then
    done(id, m, 'expired', 'not sent before its validity ended', now)
    if not advance(id, m, s, a, now) then bury(id, m, now, 'expired') end
    return true
  end
  -- The correction says what became of this money; a receipt for it would say that it counts.
  if m.k == 'receipt' and redis.call('HGET', P .. 'p:' .. m.pay, 'back') == '1' then
    done(id, m, 'canceled', 'returned', now)
    return true
  end
  -- Who has paid since, if only in part, must not think that this money failed, and pay again.
  if m.k == 'payment_failed' and (a.st ~= 'open' or num(a.pd) >= num(m.wish or m.at)) then
    done(id, m, 'canceled', a.st == 'stopped' and 'stopped' or 'paid', now)
    return true
  end
  if fenced(m.k) then
    local open, why = payable(a, s)
    if not open then done(id, m, 'canceled', why, now) return true end
    if s['l:' .. channel] ~= seq_of(id) then done(id, m, 'superseded', 'a newer message', now) return true end
    local hold = held_until(a, now)
    if hold > 0 then postpone(id, m, int(hold)) return true end
    if unsure(m) then postpone(id, m, int(num(now) + UNKNOWN_WAIT_MS)) return true end
  end
  if quiet(m, s) then
    -- A notice that would be stale by the morning is not worth one, nor a dead letter.
    if m.k == 'payment_failed' and num(ARGV[6]) >= num(m.val) then
      done(id, m, 'canceled', 'quiet hours', now)
    else
      postpone(id, m, ARGV[6])
    end
    return true
  end
  if suppressed(s, channel) or not address(s, channel) then
    local why = suppressed(s, channel) or 'no address'
    done(id, m, 'suppressed', why, now)
    -- A person who said no needs nothing; an address that leads nowhere needs staff.
    if not advance(id, m, s, a, now) and why ~= 'opted out' then bury(id, m, now, why) end
    return true
  end
end

local function stale(id, m)
  return ARGV[8] ~= '' and m.dup == '1' and m.aw == 'absent' and id ~= ARGV[10] and num(now) - num(m.akt) > num(ARGV[8])
end

local function resends(id, by)
  count('duplicates', by)
  count('doubt:resent', by)
  if by > 0 then redis.call('HSET', P .. 'm:' .. id, 'dup', '1', 'aw', 'absent')
  else redis.call('HDEL', P .. 'm:' .. id, 'dup', 'aw', 'ae') end
end

local out, questions = {}, {}
local function ask_again(id, m, s)
  resends(id, -1)
  move(id, m, 'in_doubt')
  redis.call('ZADD', P .. 'timers', m.val, 'd:' .. id)
  questions[#questions + 1] = { id, unpack(put_question(id, m, s, now, ARGV[9])) }
end

local function hand_out(lane, entry)
  local at, id = entry[1], entry[2][2]
  local m, flat = message(id)
  if not m or m.st ~= 'queued' or m.e ~= at then return drop(stream(channel, lane), at) end
  local s, flat_share = share(sid_of(id))
  local a = s and account_of(m.num)
  if not s then return done(id, m, 'canceled', 'its share is gone', now) end
  if held_back(id, m, s, a) then return end
  if stale(id, m) then return ask_again(id, m, s) end
  -- A receipt names the number that came after this one only while money can be paid to it.
  local successor = m.nn and account_of(m.nn)
  if m.nn and not (successor and successor.st == 'open') then
    redis.call('HDEL', P .. 'm:' .. id, 'nn')
    m, flat = message(id)
  end
  local attempt = int(num(m.a) + 1)
  local changes = { 'a', attempt, 'hat', now, 'cn', consumer, 'to', address(s, channel), 'st', 'handed_out' }
  -- Of a bill that staff ended since, a receipt claims no balance, whichever number stands for it now.
  if m.pay and not fenced(m.k) then
    local _, lives = live(m.num, a)
    changes[#changes + 1] = 'gu'
    changes[#changes + 1] = lives and given_up(lives) and '1' or '0'
  end
  redis.call('HSET', P .. 'm:' .. id, unpack(changes))
  count('queued', -1)
  count('handed_out', 1)
  -- What is answered is what was read, and after it what was changed: that counts.
  for _, value in ipairs(changes) do flat[#flat + 1] = value end
  out[#out + 1] = { id, at, attempt, lane, flat, flat_share, flat_accounts[m.num] or {} }
end

local function absent(id, token)
  local m = message(id)
  local lease = redis.call('ZSCORE', P .. 'ask:' .. channel, id)
  if not m or m.st ~= 'in_doubt' or m.ak ~= token or not lease or num(lease) <= num(now) then return end
  -- Its entry is gone once others took this consumer for dead.
  local key = stream(channel, m.ln)
  if (m.e or '') == '' or #redis.call('XCLAIM', key, GROUP, consumer, 0, m.e, 'JUSTID') == 0 then return end
  redis.call('ZREM', P .. 'ask:' .. channel, id)
  redis.call('ZREM', P .. 'timers', 'd:' .. id)
  resends(id, 1)
  move(id, m, 'queued')
  hand_out(m.ln, { m.e, { 'm', id } })
end
if ARGV[10] ~= '' then
  absent(ARGV[10], ARGV[11])
  return { out, '', {} }
end

local function take(lane, most)
  local entries = read(lane, most)
  in_batch(entries, function(entry) hand_out(lane, entry) end)
  return #entries
end
local most = num(ARGV[4])
local urgent = take('u', most)
local bulk_most = math.min(num(ARGV[5]), most - #out - #questions)
local bulk = take('b', bulk_most)
local bulk_left = num(ARGV[5]) > 0 and bulk >= bulk_most
return { out, (urgent >= most and 'u' or '') .. (bulk_left and 'b' or ''), questions }

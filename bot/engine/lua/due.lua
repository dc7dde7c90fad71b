#!lua
-- due: turn timers that have come into what they stand for.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 most timers
--         3 in-doubt policies: JSON {channel or channel.kind: resend | hold | blind}
--         4 channels whose workers ask about what is in doubt before its policy applies, separated by spaces
-- Return  { timers handled, ms of the next timer or '' }
-- Clock   the caller's, so tests can drive it. Cost O(handled * log timers).
-- Members r:<sid> next reminder   m:<id> message to queue   c:<id> confirmation of a rung   d:<id> in doubt
local now, policies = ARGV[1], cjson.decode(ARGV[3])
local asked = {}
for _, ch in ipairs(words(ARGV[4])) do asked[ch] = true end

local function policy(m) return policies[m.ch .. '.' .. m.k] or policies[m.ch] end

-- Whether a worker has still to find out what became of it. `blind` waits for no answer longer than for a callback.
local function in_question(m)
  return asked[m.ch] and m.aw ~= 'absent' and m.aw ~= 'unaskable'
    and not (m.aw == 'silent' and policy(m) == 'blind')
end

-- After an outage only the latest reminder that has come goes out; the others would say the same.
local function remind(sid)
  local s = share(sid)
  local a = s and account(s.num)
  if not s or not payable(a, s) then return end
  local plan, at = words(s.plan), num(s.ri)
  local last
  while plan[at + 1] and num(plan[at + 1]) <= num(now) do
    at = at + 1
    last = plan[at]
  end
  redis.call('HSET', P .. 's:' .. sid, 'ri', int(at))
  local following = plan[at + 1]
  if following then timer('r:' .. sid, following) end
  if not last then return end
  local valid = following or int(num(now) + 2 * DAY * 1000)
  local made, capped = speak(s, 'reminder', { valid = valid }, now, a)
  if #made == 0 and not capped then
    news('exhausted', now, { number = s.num, share = s.id, kind = 'reminder' })
  end
end

local function queue(id)
  local m = message(id)
  if m and m.st == 'scheduled' then
    move(id, m, 'queued')
    enqueue(id, m, now)
  end
end

local function unconfirmed(id)
  local m = message(id)
  local s = m and share(sid_of(id))
  if not s then return end
  local a = account(m.num)
  if m.st == 'done' then
    if m.o == 'sent' and num(m.dr) < 5 then advance(id, m, s, a, now) end
  elseif m.st == 'in_doubt' then
    if in_question(m) and not next_channel(s, m.ch, fenced(m.k) and a or nil) then return end
    done(id, m, 'failed', 'in doubt, and not confirmed in time', now)
    if not advance(id, m, s, a, now) then bury(id, m, now, 'in doubt') end
  elseif waits(m) and m.a == '0' and redis.call('HEXISTS', P .. 'pause', m.ch) == 0 then
    -- It stands in a long queue or waits for the morning: being slow is no reason to change the channel.
    timer('c:' .. id, int(num(now) + num(s.cw)))
  elseif waits(m) and next_channel(s, m.ch, fenced(m.k) and a or nil) then
    done(id, m, 'superseded', 'it could not be sent in time', now)
    advance(id, m, s, a, now)
  elseif m.st == 'handed_out' then
    timer('c:' .. id, int(num(now) + num(s.cw)))
  end
end

local function doubtful(id)
  local m = message(id)
  if not m or m.st ~= 'in_doubt' then return end
  local s = share(sid_of(id))
  local a = s and account(m.num)
  if not s then return done(id, m, 'canceled', 'its share is gone', now) end
  if fenced(m.k) then
    local open, why = payable(a, s)
    if not open then return done(id, m, 'canceled', why .. ', while in doubt', now) end
    if s['l:' .. m.ch] ~= seq_of(id) then return done(id, m, 'superseded', 'in doubt, and a newer message', now) end
  end
  local over, question = num(m.val) <= num(now), in_question(m)
  if question and not over then
    redis.call('ZADD', P .. 'ask:' .. m.ch, now, id)
    timer('d:' .. id, m.val)
  elseif m.dup == '1' then
    done(id, m, 'failed', 'in doubt twice', now)
    if not advance(id, m, s, a, now) then bury(id, m, now, 'in doubt twice') end
  elseif (policy(m) == 'resend' or policy(m) == 'blind') and not question then
    redis.call('HSET', P .. 'm:' .. id, 'dup', '1')
    count('duplicates', 1)
    count('doubt:resent', 1)
    leave(id, m)
    move(id, m, 'queued')
    enqueue(id, m, now)
  elseif over then
    done(id, m, 'expired', 'in doubt until its validity ended', now)
    bury(id, m, now, 'in doubt')
  else
    count('doubt:held', 1)
    bury(id, m, now, 'in doubt')
    timer('d:' .. id, m.val)
  end
end

local timers = redis.call('ZRANGEBYSCORE', P .. 'timers', '-inf', now, 'LIMIT', 0, ARGV[2])
in_batch(timers, function(member)
  timer(member, false)
  local kind, rest = string.sub(member, 1, 1), string.sub(member, 3)
  if kind == 'r' then remind(rest)
  elseif kind == 'm' then queue(rest)
  elseif kind == 'c' then unconfirmed(rest)
  elseif kind == 'd' then doubtful(rest) end
end)
local nearest = redis.call('ZRANGE', P .. 'timers', 0, 0, 'WITHSCORES')
return { #timers, nearest[2] or '' }

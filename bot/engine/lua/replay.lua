#!lua
-- replay: staff want dead letters to go out again, each as a new message. Repeating it makes nothing twice.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 validity ms  3 'one': urgent, whatever was sent since | 'many': requests for money in bulk, and
--         none where a newer one was made | 'doubt': as one, and only what is in doubt  4... message ids
-- Return  per id { 'ok', new id } | { 'closed', why nobody needs it any more } | { 'refused', why } | { 'unknown' }
-- Cost    O(ids).
local now, mode = ARGV[1], ARGV[3]

-- On a first route the last rung speaks for the whole wish, so whatever share number n came after it is a newer one.
local function newer(s, m, n)
  if m.rg ~= '1' then return s['l:' .. m.ch] ~= n end
  for _, ch in ipairs(words(s.want or s.ch)) do
    if num(s['l:' .. ch]) > num(n) then return true end
  end
  return false
end

-- Why this message is nothing to send again, or nil.
local function not_dead(id, m)
  if mode == 'doubt' and not maybe_arrived(m) then return 'it is not in doubt' end
  if redis.call('ZSCORE', P .. 'dead', id) then return nil end
  if m.st ~= 'done' then return 'it still waits: ' .. m.st end
  local unsent = m.o == 'failed' or m.o == 'expired' or m.o == 'suppressed'
  if m.adv == '1' then return 'another channel took its place' end
  if not unsent then return 'it is no dead letter: ' .. m.o end
end

-- A route that was exhausted begins again at its first rung; a rung in doubt is repeated on its own channel, where
-- the customer can see that it is the same.
local function channel_for(s, m)
  if m.rg ~= '1' or (m.st == 'in_doubt' and usable(s, m.ch)) then return m.ch end
  return next_channel(s)
end

local function again(id)
  local m = message(id)
  local s = m and share(sid_of(id))
  local a = s and account(m.num)
  if not a then
    redis.call('ZREM', P .. 'dead', id)
    return { 'unknown' }
  end
  if m.re then return { 'ok', m.re } end
  local obstacle = not_dead(id, m)
  if obstacle then return { 'refused', obstacle } end
  if fenced(m.k) then
    local open, why = payable(a, s)
    if not open then
      lay_to_rest(id, m, why, now)
      return { 'closed', why }
    end
    if mode == 'many' and newer(s, m, seq_of(id)) then
      if m.st == 'in_doubt' then done(id, m, 'superseded', 'in doubt, and a newer message', now) else unbury(id, m) end
      return { 'closed', 'a newer message' }
    end
  end
  local failed = m.k == 'payment_failed'
  if failed and num(m.val) <= num(now) then
    unbury(id, m)
    return { 'closed', 'no news any more' }
  end
  local ch = channel_for(s, m)
  if not ch then return { 'refused', 'no channel can reach this contact' } end
  if not usable(s, ch) then return { 'refused', suppressed(s, ch) or 'no address for ' .. ch } end
  local opt = { lane = (mode == 'many' and fenced(m.k)) and 'b' or 'u', valid = failed and m.val or ARGV[2], pay = m.pay,
    wish = failed and (m.wish or m.at) or nil, extra = m.j, rung = m.rg == '1' and '1' or nil, num = m.num, nn = m.nn,
    dup = ch == m.ch and (maybe_arrived(m) or m.dup == '1') and '1' or nil }
  -- Ended first: the new one would end it otherwise, as one that was superseded by chance.
  if m.st == 'in_doubt' then done(id, m, 'superseded', 'sent again by staff', now) else unbury(id, m) end
  local new = create(s, m.k, ch, opt, now)
  redis.call('HSET', P .. 'm:' .. id, 're', new)
  return { 'ok', new }
end

local answers = {}
for i = 4, #ARGV do answers[#answers + 1] = again(ARGV[i]) end
return answers

#!lua flags=allow-oom
-- finish: record what became of handed-out messages, and acknowledge them.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 results: JSON list of objects of texts
--           id, a (attempt), r (sent | failed | suppressed | retry | unsent | doubt), why, err,
--           sent: pid (provider id), dl, dr (delivery and its rank), seg, txt, ok ('1': counts as confirmed)
--           failed, suppressed: x (reason to suppress the channel for this share, or '')
--           retry: at (ms), cost ('1': counts as an attempt; '0': it was only too fast, which ends a message at its
--           validity and not before)
--           doubt: at (ms) when it is asked about or its policy applies, txt, pv (provider that may have it, or '*')
-- Return  ids that were stale and refused. A stale one is no longer this worker's: another attempt exists. That it was
--         taken counts all the same while it is in doubt, or waits to go out again because of that.
-- Clock   the caller's for due times. Cost O(batch).
local now, results = ARGV[1], cjson.decode(ARGV[2])
local stale = {}

-- A message that may not wait any more once it comes back: true if it ended here.
local function ended(id, m, s, a)
  if m.by then done(id, m, 'superseded', 'delivered by ' .. m.by, now) return true end
  if not fenced(m.k) then return false end
  local open, why = payable(a, s)
  if not open then done(id, m, 'canceled', why, now) return true end
  if s['l:' .. m.ch] ~= seq_of(id) then done(id, m, 'superseded', 'a newer message', now) return true end
  return false
end

local function sent(id, m, s, r)
  taken_twice(id, m, r.pid)
  local rank = math.max(num(m.dr), num(r.dr))
  if m.c then charge_rest(id, m, r.seg) end
  done(id, m, 'sent', '', now, { 'pid', r.pid, 'seg', r.seg, 'txt', r.txt, 'sat', now,
    'dl', num(m.dr) > num(r.dr) and m.dl or r.dl, 'dr', int(rank) })
  event(s, 'message.sent', now, { message = id, channel = m.ch, kind = m.k })
  if r.ok == '1' or rank >= 5 or m.cf == '1' then
    confirm(id, m, s, now)
  elseif m.rg == '1' then
    timer('c:' .. id, int(num(now) + num(s.cw)))
  end
end

local function failed(id, m, s, a, r, outcome)
  redis.call('HSET', P .. 'm:' .. id, 'err', r.err)
  -- The contact may have been edited since: only the address that failed is silenced.
  if r.x and r.x ~= '' and m.to == address(s, m.ch) then
    silence(s, m.ch, r.x)
  end
  -- What is refused was sent again after a doubt, and its provider has told since that it had the first.
  if told(m) and num(m.dr) ~= 4 then return taken(id, m, s, now) end
  done(id, m, outcome, r.why, now)
  event(s, 'message.failed', now, { message = id, channel = m.ch, kind = m.k, reason = r.why })
  if not m.by and not advance(id, m, s, a, now) then bury(id, m, now, r.why) end
end

local function retry(id, m, s, a, r)
  redis.call('HSET', P .. 'm:' .. id, 'err', r.err)
  if ended(id, m, s, a) then return end
  if r.cost == '1' and num(r.at) >= num(m.val) then
    done(id, m, 'expired', r.why, now)
    if not advance(id, m, s, a, now) then bury(id, m, now, r.why) end
    return
  end
  redis.call('HINCRBY', P .. 'm:' .. id, 't', r.cost)
  postpone(id, m, int(math.min(num(r.at), num(m.val))))
end

-- A worker that was taken for dead tells of an attempt that is not the current one.
local function overtaken(id, m, r)
  stale[#stale + 1] = id
  count('stale', 1)
  if not m or r.r ~= 'sent' then return end
  taken_twice(id, m, r.pid)
  if not told(m) then redis.call('HSET', P .. 'm:' .. id, 'pid', r.pid, 'dl', r.dl, 'dr', r.dr) end
end

local function finish(r)
  local m = message(r.id)
  -- Nearly every result is `sent`.
  local s = m and (r.r == 'sent' and brief or share)(sid_of(r.id))
  local open = m and (m.st == 'in_doubt' or (m.dup == '1' and waits(m)))
  local mine = s and ((m.st == 'handed_out' and m.a == r.a) or (open and r.r == 'sent'))
  if not mine then return overtaken(r.id, m, r) end
  if told(m) and (r.r == 'doubt' or r.r == 'retry' or r.r == 'unsent') then
    if r.txt then redis.call('HSET', P .. 'm:' .. r.id, 'txt', r.txt) end
    taken(r.id, m, s, now)
  elseif r.r == 'sent' then
    sent(r.id, m, s, r)
  elseif r.r == 'failed' or r.r == 'suppressed' then
    failed(r.id, m, s, account(m.num), r, r.r)
  elseif r.r == 'retry' then
    retry(r.id, m, s, account(m.num), r)
  elseif r.r == 'unsent' then
    if not ended(r.id, m, s, account(m.num)) then
      leave(r.id, m)
      move(r.id, m, 'queued')
      enqueue(r.id, m, now)
    end
  else
    redis.call('HSET', P .. 'm:' .. r.id, 'err', r.err, 'txt', r.txt or '')
    into_doubt(r.id, m, r.at, r.pv or '*', now)
  end
end

in_batch(results, finish)
return stale

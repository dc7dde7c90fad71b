#!lua flags=allow-oom
-- lease: tokens of a sender's rate, and places at its provider, for messages that a worker is about to get.
-- KEYS    1 prefix of the limits, `tuma:{limits}:`: all of them share one slot, so one call may name several
-- ARGV    1 now us, '' for the server's own clock  2 request: JSON object
--           ch channel, who consumer, want messages, bulk how many of them may be bulk, urgent whether any is urgent
--           cost tokens that one message needs at most, back tokens leased before and not used (below 0: too few were)
--           every us between two tokens, 0 without a rate
--           burst tokens that gather for everybody, spare tokens that gather beside them for urgent messages alone
--           places list of { name provider, most requests at once, part of this channel's messages it gets, 0 to 1 }
--           busy requests of this consumer under way, keep us after which a silent consumer's places are free
-- Return  { messages, how many of them bulk, us until an urgent one may go, us until a bulk one may go }
-- Clock   the server's, so the clocks of workers do not matter. A clock that is set back, or a failover to a server
--         whose clock differs, costs at most one full bucket: the arrival time is held between now and now + full.
-- Cost    O(1) without places, else O(consumers of the provider)
--
-- A bucket is one time (GCRA): when it would be full again. What gathers is `burst` + `spare`, one second of the rate,
-- so 60 s hold at most 61 s of it. Times have 0.01 us, kept as doubles of 0.25 us: at 1,000 tokens a second an error
-- below 0.03 %, not in one direction. Whoever asks first gets; one who gets nothing is told when a share of a tenth of
-- a second will be there, so that many who wait take turns by chance and do not ask for every token.
-- Places: who holds more than an equal share gets none while others wait for theirs.
local time = redis.call('TIME')
local now = ARGV[1] ~= '' and num(ARGV[1]) or num(time[1]) * 1000000 + num(time[2])
local r = cjson.decode(ARGV[2])
local SHARE_US, LOOK_US, NEAR = 100000, 100000, 0.000001
local all, bulk, all_wait, bulk_wait = r.want, r.bulk, 0, 0

local function places(place)
  local used, waiting, mine = 0, 0, r.who .. ' ' .. r.ch
  for holder, state in pairs(record(P .. 'busy:' .. place.name) or {}) do
    local count, short, till = string.match(state, '^(%S+) (%d) (%S+)$')
    if num(till) < now then
      redis.call('HDEL', P .. 'busy:' .. place.name, holder)
    elseif holder ~= mine then
      used, waiting = used + num(count), waiting + num(short)
    end
  end
  local free = (place.most - used) / place.part - r.busy
  if waiting > 0 then free = math.min(free, math.max(place.most / (waiting + 1), 1) / place.part - r.busy) end
  local spare = place.most > 1 and math.max(math.floor(place.most / 5), 1) or 0
  return math.floor(free + NEAR), math.floor(free - spare / place.part + NEAR)
end

for _, place in ipairs(r.places) do
  local free, free_bulk = places(place)
  if free < all then all, all_wait = math.max(free, 0), LOOK_US end
  if free_bulk < bulk then bulk, bulk_wait = math.max(free_bulk, 0), LOOK_US end
end
bulk = math.min(bulk, all)
if not r.urgent then all = bulk end

local short = all < r.want
if r.every > 0 then
  local key, full = P .. 'rate:' .. r.ch, (r.burst + r.spare) * r.every
  local each = r.cost * r.every
  local tat = num(redis.call('HGET', key, 'tat')) - r.back * r.every
  tat = math.max(now, math.min(tat, now + full))
  local function room(most) return math.max(math.floor((now + most - tat) / each + NEAR), 0) end
  all = math.min(all, room(full))
  bulk = math.min(bulk, all, room(r.burst * r.every))
  if not r.urgent then all = bulk end
  tat = tat + all * each
  if r.want > 0 and all == 0 then all_wait = math.max(all_wait, tat + each - now - full) end
  if r.bulk > 0 and bulk == 0 then
    local share = math.max(math.min(math.floor(SHARE_US / each), r.bulk, math.floor(r.burst / r.cost)), 1)
    -- What was granted now and goes unused comes back, so bulk counts without it.
    bulk_wait = math.max(bulk_wait, tat - all * each + share * each - now - r.burst * r.every)
  end
  redis.call('HSET', key, 'tat', string.format('%.2f', tat), 'every', r.every, 'full', r.burst + r.spare)
  redis.call('HINCRBY', key, 'given', string.format('%.0f', all * r.cost - r.back))
  if (r.want > 0 and all == 0) or (r.bulk > 0 and bulk == 0) then redis.call('HINCRBY', key, 'waits', 1) end
end

for _, place in ipairs(r.places) do
  redis.call('HSET', P .. 'busy:' .. place.name, r.who .. ' ' .. r.ch,
    string.format('%.3f %d %.0f', (r.busy + all) * place.part, short and 1 or 0, now + r.keep))
end
return { all, bulk, string.format('%.0f', math.ceil(all_wait)), string.format('%.0f', math.ceil(bulk_wait)) }

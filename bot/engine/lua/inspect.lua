#!lua flags=no-writes
-- inspect: do these records, and what they wait in, agree? Each call sees one moment, so it is right under load too.
-- KEYS    1 partition prefix
-- ARGV    1 what the others name: 'm' messages (id) | 'q' stream entries (channel:lane:entry) | 'a' accounts (number)
--         | 'd' dead letters (message id) | 'u' payments for staff (payment id)  2... names
-- Return  what does not agree, one text each. Cost O(names); of an account O(its fields).
local found = {}

local function wrong(name, text) found[#found + 1] = name .. ': ' .. text end

local function entry_of(key, entry)
  local row = redis.call('EXISTS', key) == 1 and redis.call('XRANGE', key, entry, entry)[1]
  return row and row[2][2]
end

local function pending(key, entry)
  local rows = redis.pcall('XPENDING', key, GROUP, entry, entry, 1)
  return not rows.err and #rows > 0
end

local function check_stream(id, m)
  local key = stream(m.ch, m.ln)
  if not m.e or m.e == '' or entry_of(key, m.e) ~= id then return wrong(id, m.st .. ', but in no stream') end
  if m.st == 'handed_out' and not pending(key, m.e) then wrong(id, 'handed out, but nobody holds it') end
end

local CHECK = {}

function CHECK.m(id)
  local m = message(id)
  if not m then return end
  if m.st == 'done' then
    if not m.o or m.o == '' then wrong(id, 'done without an outcome') end
    return
  end
  if redis.call('EXISTS', P .. 's:' .. sid_of(id)) == 0 then wrong(id, m.st .. ', but its share is gone') end
  if m.st == 'queued' or m.st == 'handed_out' then
    check_stream(id, m)
  elseif m.st == 'scheduled' then
    if not redis.call('ZSCORE', P .. 'timers', 'm:' .. id) then wrong(id, 'scheduled, but has no timer') end
  elseif m.st == 'in_doubt' then
    if not redis.call('ZSCORE', P .. 'timers', 'd:' .. id) then wrong(id, 'in doubt, but has no timer') end
  else
    wrong(id, 'unknown state ' .. tostring(m.st))
  end
end

function CHECK.q(name)
  local channel, lane, entry = string.match(name, '^(%a+):(%a):(.+)$')
  local id = entry_of(stream(channel, lane), entry)
  if not id then return end
  local m = message(id)
  -- In doubt: whoever has the entry asks once more before it goes out again (hand_out).
  if not m or m.e ~= entry or (m.st ~= 'queued' and m.st ~= 'handed_out' and m.st ~= 'in_doubt') then
    wrong(name, 'a stream entry that no message waits in')
  end
end

function CHECK.a(number)
  local a = account(number)
  if not a then return end
  local given = num(a.credit)
  for _, term in ipairs(terms_of(a)) do given = given + num(a['tp:' .. term]) end
  if given ~= num(a.paid) then
    wrong(number, 'paid is ' .. int(num(a.paid)) .. ', but its terms and credit have ' .. int(given))
  end
  if a.st ~= 'open' and a.st ~= 'closed' and a.st ~= 'settled' and a.st ~= 'stopped' then
    wrong(number, 'unknown state ' .. tostring(a.st))
  end
  -- What was owed under a number with a successor is owed there.
  local clear = a.st == 'settled' or (a.st == 'closed' and a.next ~= nil)
  if clear ~= (total_balance(a) <= 0) and a.st ~= 'stopped' then
    wrong(number, a.st .. ', but ' .. int(total_balance(a)) .. ' is owed')
  end
end

function CHECK.d(id)
  if not redis.call('ZSCORE', P .. 'dead', id) or not message(id) then return end
  if redis.call('HEXISTS', P .. 's:' .. sid_of(id), 'd:' .. seq_of(id)) == 0 then
    wrong(id, 'a dead letter that its share does not know')
  end
end

function CHECK.u(pid)
  if redis.call('ZSCORE', P .. 'um', pid) and redis.call('EXISTS', P .. 'p:' .. pid) == 0 then
    wrong(pid, 'a payment for staff that is gone')
  end
end

for i = 2, #ARGV do CHECK[ARGV[1]](ARGV[i]) end
return found

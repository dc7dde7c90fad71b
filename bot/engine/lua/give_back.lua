#!lua flags=allow-oom
-- give_back: the answer of a hand_out was lost; what it handed to this consumer, and nobody sends, waits again.
-- KEYS    1 partition prefix
-- ARGV    1 now ms  2 channel  3 consumer  4 ids that the consumer holds and sends: JSON list
-- Return  messages given back. Cost O(pending of the consumer).
local now, channel, given = ARGV[1], ARGV[2], 0
local holds = {}
for _, id in ipairs(cjson.decode(ARGV[4])) do holds[id] = true end
for _, lane in ipairs({ 'u', 'b' }) do
  local key = stream(channel, lane)
  local pending = redis.call('EXISTS', key) == 1
    and redis.pcall('XPENDING', key, GROUP, '-', '+', 1000, ARGV[3]) or {}
  for _, row in ipairs(pending.err and {} or pending) do
    local found = redis.call('XRANGE', key, row[1], row[1])[1]
    local id = found and found[2][2]
    local m = id and message(id)
    if m and m.st == 'handed_out' and m.e == row[1] and not holds[id] then
      leave(id, m)
      move(id, m, 'queued')
      enqueue(id, m, now)
      given = given + 1
    end
  end
end
return given

#!lua flags=allow-oom
-- pause: nothing is handed out on a channel in this partition, or everything again.
-- KEYS    1 partition prefix
-- ARGV    1 channel  2 why (JSON: reason, by, at), '' to resume  3 '1' if tuma does it by itself, and not a person
-- Return  1 if that changed anything, else 0. Cost O(1).
-- What a person paused is theirs: tuma neither takes it over nor ends it, and they take over what tuma has paused.
local known = redis.call('HGET', P .. 'pause', ARGV[1])
local itself = ARGV[3] == '1'
local theirs = known and cjson.decode(known).by ~= 'tuma'
if ARGV[2] ~= '' then
  if known and (itself or theirs) then return 0 end
  redis.call('HSET', P .. 'pause', ARGV[1], ARGV[2])
  return 1
end
if itself and theirs then return 0 end
wake(ARGV[1], 'u')
wake(ARGV[1], 'b')
return redis.call('HDEL', P .. 'pause', ARGV[1])

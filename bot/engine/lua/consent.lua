#!lua flags=allow-oom
-- consent: a contact said no on a channel, or yes again. The first no is the proof; a repeat adds nothing. That an
-- address leads nowhere is no word of theirs: what they say takes its place, as that is not for staff to mend.
-- KEYS    1 prefix of the contact's partition  2 contact record
-- ARGV    1 'out' | 'in'  2 channel  3 what was said (JSON: reason, time, proof)
-- Return  1. Cost O(1). The record lives on for good: what people decided about us is not forgotten.
if ARGV[1] == 'out' then
  local known = redis.call('HGET', KEYS[2], 'x:' .. ARGV[2])
  local theirs = cjson.decode(ARGV[3]).reason == 'opted out'
  if not known or (theirs and cjson.decode(known).reason ~= 'opted out') then
    redis.call('HSET', KEYS[2], 'x:' .. ARGV[2], ARGV[3])
  end
else
  redis.call('HDEL', KEYS[2], 'x:' .. ARGV[2])
  redis.call('HSET', KEYS[2], 'y:' .. ARGV[2], ARGV[3])
end
redis.call('PERSIST', KEYS[2])
return 1

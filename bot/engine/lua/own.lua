#!lua flags=allow-oom
-- own: one owner at a time; it lapses by itself when the owner dies.
-- KEYS    1 the lease
-- ARGV    1 owner  2 ms for which it is taken or renewed, 0 to end it
-- Return  1 if it is (or was) the owner's, else 0. Clock the server's. Cost O(1).
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1

#!lua flags=allow-oom
-- confirm: a claim's share is complete, or was refused and may be asked again.
-- KEYS    1 prefix of the id's partition  2 claim record
-- ARGV    1 share id  2 sid of the claim  3 '1' confirm, '0' release  4 sid of the share (another one when the bill
--         knew the id already)
-- Return  1 if this claim was still open, 0 if not, -1 if there is none. Cost O(log n).
local sid = redis.call('HGET', KEYS[2], 'sid')
if not sid then return -1 end
if sid ~= ARGV[2] or redis.call('HGET', KEYS[2], 'st') ~= 'open' then return 0 end
redis.call('ZREM', P .. 'claims', ARGV[1])
if ARGV[3] == '1' then
  redis.call('HSET', KEYS[2], 'st', 'done', 'sid', ARGV[4])
  redis.call('HDEL', KEYS[2], 'job')
  redis.call('EXPIRE', KEYS[2], KEEP_ACCOUNT_S)
else
  redis.call('DEL', KEYS[2])
end
return 1

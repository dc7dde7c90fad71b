#!lua flags=allow-oom
-- confirm: a claim's share is complete, or was refused and may be asked again.
-- KEYS    1 prefix of the id's partition  2 claim record
-- ARGV    1 share id  2 sid of the claim  3 '1' confirm, '0' release  4 sid of the share (another one when the bill
--         knew the id already)  5 why it was released  6 now ms  7 '1' if ClickPesa can be told
-- Return  1 if this claim was still open, 0 if not, -1 if there is none. Cost O(log n).
local sid, st = unpack(redis.call('HMGET', KEYS[2], 'sid', 'st'))
if not sid then return -1 end
if sid ~= ARGV[2] or not (st == 'open' or (st == 'making' and ARGV[3] == '0')) then return 0 end
redis.call('ZREM', P .. 'claims', ARGV[1])
if ARGV[3] == '1' then
  redis.call('HSET', KEYS[2], 'st', 'done', 'sid', ARGV[4])
  redis.call('HDEL', KEYS[2], 'job', 'raw')
  redis.call('EXPIRE', KEYS[2], KEEP_ACCOUNT_S)
elseif redis.call('HEXISTS', KEYS[2], 'nx') == 1 then
  -- Its number exists for nobody: ClickPesa must not take money for it, and the producer can read why.
  policy.sync = ARGV[7]
  redis.call('HSET', KEYS[2], 'st', 'refused', 'why', ARGV[5])
  redis.call('HDEL', KEYS[2], 'job', 'raw')
  redis.call('EXPIRE', KEYS[2], KEEP_SHARE_S)
  count('refused', 1)
  tell_clickpesa(redis.call('HGET', KEYS[2], 'nx'), ARGV[6])
else
  redis.call('DEL', KEYS[2])
  redis.call('ZREM', P .. 'make:u', 'c:' .. ARGV[1])
  redis.call('ZREM', P .. 'make:b', 'c:' .. ARGV[1])
end
return 1

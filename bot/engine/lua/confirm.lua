#!lua flags=allow-oom
-- confirm: a claim's share is complete, or was refused and may be asked again.
-- KEYS    1 prefix of the id's partition  2 where ids are kept  3 claim record, if its number was to be made
-- ARGV    1 share id  2 sid of the claim  3 '1' confirm, '0' release  4 sid of the share (another one when the bill
--         knew the id already)  5 why it was released  6 now ms  7 '1' if ClickPesa can be told
--         8... only where all is on one server: record of the share that must be there, and of each of its contacts the
--         record, the field that notes the number, and what they had said when the share was made ready
-- Return  1 if this claim was still open, 0 if not, -1 if there is none, -2 if what must be so is not. Cost O(ids kept in
--         one place).
local name, now = ARGV[1], ARGV[6]
if ARGV[8] then
  if redis.call('EXISTS', ARGV[8]) == 0 then return -2 end
  for i = 9, #ARGV, 3 do
    local noted = redis.call('HEXISTS', ARGV[i], ARGV[i + 1]) == 1
    if not noted or table.concat(said_by(ARGV[i]), '\31') ~= ARGV[i + 2] then return -2 end
  end
end
local id = id_of(KEYS[2], name)
local c = not id and record(KEYS[3])
local claim = id or c
if not claim then return -1 end
if claim.sid ~= ARGV[2] or not (is_open(name) or (claim.st == 'making' and ARGV[3] == '0')) then return 0 end
open_job(name, false)
if ARGV[3] == '1' then
  if c or claim.sid ~= ARGV[4] then
    claim.sid = ARGV[4]
    keep_id(KEYS[2], name, claim, now)
  end
  if c then redis.call('DEL', KEYS[3]) end
elseif c and c.nx then
  -- Its number exists for nobody: ClickPesa must not take money for it, and the producer can read why.
  policy.sync = ARGV[7]
  redis.call('HSET', KEYS[3], 'st', 'refused', 'why', ARGV[5])
  redis.call('HDEL', KEYS[3], 'job', 'raw')
  redis.call('EXPIRE', KEYS[3], KEEP_SHARE_S)
  count('refused', 1)
  tell_clickpesa(c.nx, now)
else
  redis.call('HDEL', KEYS[2], name)
  redis.call('DEL', KEYS[3])
  redis.call('ZREM', P .. 'make:u', 'c:' .. name)
  redis.call('ZREM', P .. 'make:b', 'c:' .. name)
end
return 1

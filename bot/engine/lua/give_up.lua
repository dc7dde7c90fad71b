#!lua flags=allow-oom
-- give_up: an address that a contact gave up is no contact of this number any more, unless a share has it after all.
-- KEYS    1 partition prefix
-- ARGV    1 number  2 kind (phone | email | telegram)  3 address  4 '0' only look, '1' take it off
-- Return  1 if the number has nothing to do with the address any more, else 0. Cost O(shares of the number).
local key, field = P .. 'a:' .. ARGV[1], ARGV[2] .. ':' .. ARGV[3]
local a = account(ARGV[1]) or {}
for _, sid in ipairs(shares_of(a)) do
  if redis.call('HGET', P .. 's:' .. sid, 'a:' .. ARGV[2]) == ARGV[3] then
    if ARGV[4] == '1' then redis.call('HDEL', key, 'ko:' .. field) end
    return 0
  end
end
-- A contact whose shares are past their retention is still one.
if a['k:' .. field] and not a['ko:' .. field] then return 0 end
if ARGV[4] == '1' then redis.call('HDEL', key, 'ko:' .. field, 'k:' .. field) end
return 1

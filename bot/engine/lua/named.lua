#!lua flags=no-writes
-- named: numbers whose customer's name holds some words, out of a part of all names, the first that were taken first.
-- KEYS    1 partition prefix
-- ARGV    1 words, casefolded  2 place to begin at  3 how many names to look at  4 most numbers
-- Return  { names looked at, number ... }. Cost O(names looked at).
local names = redis.call('LRANGE', P .. 'called', ARGV[2], num(ARGV[2]) + num(ARGV[3]) - 1)
local found = { #names }
for _, entry in ipairs(names) do
  local name, number = string.match(entry, '^(.*)\31(.*)$')
  if name and string.find(name, ARGV[1], 1, true) then
    found[#found + 1] = number
    if #found > num(ARGV[4]) then break end
  end
end
return found

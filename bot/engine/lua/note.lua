#!lua flags=allow-oom
-- note: an entry at the end of a capped stream: news for staff, or what a person did. Being full hides neither.
-- KEYS    1 stream
-- ARGV    1 most entries, about  2... fields and values
-- Return  id of the entry. Cost O(1).
return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, 2))

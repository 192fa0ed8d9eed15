-- Counts entries without sending them anywhere.
-- KEYS: stream
-- ARGV: lowest id, highest id, most entries to count
-- Answers { how many there are, the last of them or nil }.
local entries = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])
local last = entries[#entries]
return { #entries, last and last[1] or false }

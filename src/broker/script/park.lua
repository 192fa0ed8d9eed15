-- Writes the retry record of an entry that failed, for whoever may have to take it over, and renews the entry.
-- KEYS: stream, retry records
-- ARGV: group, consumer, entry id, delivery count, record
-- Answers 1 when it is done, 0 when the entry is not pending for this instance any more.

-- An entry is ours under any name of our instance, `<instance>-<index>`: our own sweep may have moved it from one to another.
local function instance(name)
  return string.match(name, '^(.*)%-%d+$') or name
end

local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)[1]
if not pending or instance(pending[2]) ~= instance(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[2], ARGV[3], ARGV[5])
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'RETRYCOUNT', ARGV[4], 'JUSTID')
return 1

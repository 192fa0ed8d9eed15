-- Makes a pending entry a dead letter: adds a copy with its reason to the stream of dead letters, acknowledges the entry, and
-- drops its retry record. One step, and in this order: when the copy cannot be added (out of memory, say), the script ends there and
-- the entry stays pending. MULTI would go on and acknowledge. The stream of dead letters has a bound, kept in whole nodes of the
-- server; the oldest letters go.
-- KEYS: stream, stream of dead letters, retry records
-- ARGV: group, consumer, entry id, letters to keep, then names and values of the copy's fields
-- Answers how many letters were cut, or nil when the entry is not pending for this instance any more.

-- An entry is ours under any name of our instance, `<instance>-<index>`: our own sweep may have moved it from one to another.
local function instance(name)
  return string.match(name, '^(.*)%-%d+$') or name
end

local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)[1]
if not pending or instance(pending[2]) ~= instance(ARGV[2]) then
  return false
end
local before = redis.call('XLEN', KEYS[2])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', unpack(ARGV, 5))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
redis.call('HDEL', KEYS[3], ARGV[3])
return before + 1 - redis.call('XLEN', KEYS[2])

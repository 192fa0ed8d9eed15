-- Makes a pending entry a dead letter: adds a copy with its reason to the stream of dead letters, acknowledges the entry, and
-- drops its retry record. One step, and in this order: when the copy cannot be added (out of memory, say), the script ends there and
-- the entry stays pending. MULTI would go on and acknowledge.
-- KEYS: stream, stream of dead letters, retry records
-- ARGV: group, consumer, entry id, then names and values of the copy's fields
-- Answers 1 when it is done, 0 when the entry is not pending for this instance any more.

-- An entry is ours under any name of our instance, `<instance>-<index>`: our own sweep may have moved it from one to another.
local function instance(name)
  return string.match(name, '^(.*)%-%d+$') or name
end

local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)[1]
if not pending or instance(pending[2]) ~= instance(ARGV[2]) then
  return 0
end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 4))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
redis.call('HDEL', KEYS[3], ARGV[3])
return 1

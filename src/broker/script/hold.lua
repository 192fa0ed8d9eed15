-- Sets idle time and delivery count of entries that a consumer holds, and of no others: XCLAIM itself would take them back from whoever
-- has taken them over. Renewing is idle 0 with the count unchanged; the beginning of a try is idle 0 with one more; handing back is a
-- long idle time with one less.
-- KEYS: stream
-- ARGV: group, consumer, idle milliseconds, then pairs of entry id and delivery count
-- Answers the ids that are not this instance's any more.

-- An entry is ours under any name of our instance, `<instance>-<index>`: our own sweep may have moved it from one to another.
local function instance(name)
  return string.match(name, '^(.*)%-%d+$') or name
end

local lost = {}
for i = 4, #ARGV, 2 do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)[1]
  if not pending or instance(pending[2]) ~= instance(ARGV[2]) then
    lost[#lost + 1] = ARGV[i]
  else
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'IDLE', ARGV[3], 'RETRYCOUNT', ARGV[i + 1], 'JUSTID')
  end
end
return lost

-- Looks for the oldest entry of the group that is pending with another instance than ours.
-- KEYS: stream
-- ARGV: group, any consumer of ours
-- Answers its id, or nil when others have nothing pending.

-- An entry is ours under any name of our instance, `<instance>-<index>`.
local function instance(name)
  return string.match(name, '^(.*)%-%d+$') or name
end

-- Ids are compared as padded text: a Lua number does not hold 64 bits.
local function padded(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return string.rep('0', 20 - #ms) .. ms .. string.rep('0', 20 - #seq) .. seq
end

local oldest = false
for _, holder in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1])[4] or {}) do
  if instance(holder[1]) ~= instance(ARGV[2]) then
    local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, holder[1])[1]
    if pending and (not oldest or padded(pending[1]) < padded(oldest)) then
      oldest = pending[1]
    end
  end
end
return oldest

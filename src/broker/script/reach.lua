-- Says what could be delivered: everything that stands on the stream, is pending in any group, is yet to be delivered to one, or is a
-- dead letter that may be replayed. Changes nothing.
-- KEYS: stream, dead letters
-- ARGV: group that must be there, the most dead letters to look at
-- Answers { first id on the stream or "", { oldest pending or "", last delivered } for each group, oldest dead letter or "" }, or
-- an empty list where that cannot be said: there is no stream, the group is missing, or there are more dead letters than that.
local key, dead, required, most = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])

-- Ids are compared as padded text: a Lua number does not hold 64 bits.
local function padded(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  if not ms or #ms > 20 or #seq > 20 then
    return nil
  end
  return string.rep('0', 20 - #ms) .. ms .. string.rep('0', 20 - #seq) .. seq
end

if redis.call('EXISTS', key) == 0 or redis.call('XLEN', dead) > most then
  return {}
end

local groups, found = {}, false
for _, fields in ipairs(redis.call('XINFO', 'GROUPS', key)) do
  local group = {}
  for i = 1, #fields, 2 do
    group[fields[i]] = fields[i + 1]
  end
  found = found or group['name'] == required
  local pending = redis.call('XPENDING', key, group['name'])[2]
  groups[#groups + 1] = { pending or '', group['last-delivered-id'] }
end
if not found then
  return {}
end

-- The last field of its name is the one that was added when the letter was written.
local oldest, oldest_padded = '', nil
for _, letter in ipairs(redis.call('XRANGE', dead, '-', '+')) do
  local id
  for i = 1, #letter[2], 2 do
    if letter[2][i] == '_id' then
      id = letter[2][i + 1]
    end
  end
  local order = id and padded(id)
  if order and (oldest_padded == nil or order < oldest_padded) then
    oldest, oldest_padded = id, order
  end
end

local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
return { first and first[1] or '', groups, oldest }

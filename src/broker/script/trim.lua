-- Cuts entries that no group needs any more, in one bounded step: what every group has acknowledged, and of that only what is over the
-- bound. Survey and cut are one step, so no group can be made or set back in between.
-- KEYS: stream, watermark of the group
-- ARGV: group that must be there, entries to keep, most entries to cut, "keep" or "trim" (cut what is over the bound even if needed)
-- Answers { state, entries cut, of those not acknowledged by every group, length now, group that holds the floor or "", floor or "" }
-- where the floor is the first id that is still needed, or "(" and the last that is not, and state is "ok", "more" (the bound of the step ended it), "rest" (less
-- than a node is left over the bound, or what is settled later), "blocked", "no-stream" or "no-group".
local key, required, keep, most, on_blocked = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

-- So many entries are read at the most, with their content, to find out which of the oldest are needed.
local LOOK = 200

-- Ids are compared as padded text: a Lua number does not hold 64 bits.
local function padded(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return string.rep('0', 20 - #ms) .. ms .. string.rep('0', 20 - #seq) .. seq
end

local function map(fields)
  local m = {}
  for i = 1, #fields, 2 do
    m[fields[i]] = fields[i + 1]
  end
  return m
end

if redis.call('EXISTS', key) == 0 then
  return { 'no-stream', 0, 0, 0, '', '' }
end
local length = redis.call('XLEN', key)

-- The floor: where what some group still needs begins. An entry is needed when it stands at the floor or above.
local floor, floor_from, holder, own
for _, fields in ipairs(redis.call('XINFO', 'GROUPS', key)) do
  local group = map(fields)
  local from, order
  if group['pending'] > 0 then
    from = redis.call('XPENDING', key, group['name'])[2]
    order = padded(from) .. '0'
  else
    from = '(' .. group['last-delivered-id']
    order = padded(group['last-delivered-id']) .. '1'
  end
  if group['name'] == required then
    own = from
  end
  if floor == nil or order < floor then
    floor, floor_from, holder = order, from, group['name']
  end
end
if own == nil then
  return { 'no-group', 0, 0, length, '', '' }
end

-- The watermark says up to where this group has settled everything, for the day on which it is lost. Out of memory, it waits.
-- Beside the id a digest of its entry, for another stream may stand at the key by then, with the same ids.
local delivered = string.sub(own, 1, 1) == '('
local bound = delivered and string.sub(own, 2) or ('(' .. own)
local last = redis.call('XREVRANGE', key, bound, '-', 'COUNT', 1)[1]
local mark = delivered and bound
if last then
  mark = last[1] .. ' ' .. redis.sha1hex(cmsgpack.pack(last[2]))
end
if mark then
  redis.pcall('SET', KEYS[2], mark)
end

local over = length - keep
if over <= 0 then
  return { 'ok', 0, 0, length, holder, floor_from }
end

-- What is still needed stays: whole nodes first, those below the floor, for they go at little cost.
if on_blocked ~= 'trim' then
  local first, below = floor_from, '(' .. floor_from
  if string.sub(floor_from, 1, 1) == '(' then
    below = string.sub(floor_from, 2)
    local ms, seq = string.match(below, '^(%d+)-(%d+)$')
    -- The entry after it; where the number is too long for Lua, this one stays, too.
    first = #seq < 15 and string.format('%s-%.0f', ms, seq + 1) or below
  end
  local cut = redis.call('XTRIM', key, 'MINID', '~', first, 'LIMIT', math.min(over, most))
  if cut > 0 then
    local state = over > most and cut > most / 2 and 'more' or 'rest'
    return { cut < over and state or 'ok', cut, 0, length - cut, holder, floor_from }
  end
  -- What is left lies in one node, or that node is larger than the limit.
  local step = math.min(over, most, LOOK)
  local found = #redis.call('XRANGE', key, '-', below, 'COUNT', step)
  if found > 0 then
    redis.call('XTRIM', key, 'MAXLEN', '=', length - found)
  end
  local state = found < step and 'blocked' or found < over and 'more' or 'ok'
  return { state, found, 0, length - found, holder, floor_from }
end

-- Else the oldest entries are looked at one by one, to count what was needed.
local step = math.min(over, most, LOOK)
local head = redis.call('XRANGE', key, '-', '+', 'COUNT', step)
local needed = 0
for i = 1, #head do
  if padded(head[i][1]) .. '0' >= floor then
    needed = needed + 1
  end
end
redis.call('XTRIM', key, 'MAXLEN', '=', length - #head)
return { step < over and 'more' or 'ok', #head, needed, length - #head, holder, floor_from }

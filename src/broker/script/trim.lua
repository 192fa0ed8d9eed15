-- Cuts entries that no group needs any more, in one bounded step: what every group has acknowledged, and of that only what is over the
-- bound. Survey and cut are one step, so no group can be made or set back in between.
-- KEYS: stream, watermark of the group
-- ARGV: group that must be there, entries to keep, most entries to cut, "keep" or "trim" (cut what is over the bound even if needed)
-- Answers { state, entries cut, of those not acknowledged by every group, length now, group that holds the floor or "", floor or "" }
-- where the floor is the first id that is still needed, or "(" and the last that is not, and state is "ok", "more" (there is more to cut), "blocked", "no-stream" or "no-group".
local key, required, keep, most, on_blocked = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

-- So many entries are read at the most, with their content, to find out where the floor lies: from the floor on, and from the head.
local LOOK_AHEAD = 1000
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
local floor, floor_from, holder, lag, pending, own
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
    floor, floor_from, holder, lag, pending = order, from, group['name'], group['lag'], group['pending']
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

-- A backlog: what the furthest group has not even read is over the bound by itself, so everything below the floor may go, and nothing
-- has to be read to find out. Whole nodes first, for those go in bounded steps; then the rest, in the node that the floor is in.
if on_blocked ~= 'trim' and lag and lag >= keep then
  local first = floor_from
  if string.sub(first, 1, 1) == '(' then
    local ms, seq = string.match(first, '^[(](%d+)-(%d+)$')
    -- The entry after it; where the number is too long for Lua, this one stays, too.
    first = #seq < 15 and string.format('%s-%.0f', ms, seq + 1) or (ms .. '-' .. seq)
  end
  local cut = redis.call('XTRIM', key, 'MINID', '~', first, 'LIMIT', most)
  if cut > 0 then
    return { 'more', cut, 0, length - cut, holder, floor_from }
  end
  cut = redis.call('XTRIM', key, 'MINID', '=', first)
  return { cut < over and 'blocked' or 'ok', cut, 0, length - cut, holder, floor_from }
end

-- The common case: few entries are needed, all of them within the bound, so everything over it may go.
local look = math.min(LOOK_AHEAD, keep)
if pending <= look and #redis.call('XRANGE', key, floor_from, '+', 'COUNT', look + 1) <= look then
  local cut = math.min(over, most)
  redis.call('XTRIM', key, 'MAXLEN', '=', length - cut)
  return { cut < over and 'more' or 'ok', cut, 0, length - cut, holder, floor_from }
end

-- Else the oldest entries are looked at one by one.
local step = math.min(over, most, LOOK)
local head = redis.call('XRANGE', key, '-', '+', 'COUNT', step)
local cut, needed = 0, 0
for i = 1, #head do
  if padded(head[i][1]) .. '0' >= floor then
    if on_blocked ~= 'trim' then
      break
    end
    needed = needed + 1
  end
  cut = i
end
if cut == 0 then
  return { 'blocked', 0, 0, length, holder, floor_from }
end
redis.call('XTRIM', key, 'MAXLEN', '=', length - cut)
local state = 'ok'
if cut < step then
  state = 'blocked'
elseif cut < over then
  state = 'more'
end
return { state, cut, needed, length - cut, holder, floor_from }

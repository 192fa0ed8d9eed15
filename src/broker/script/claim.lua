-- Takes over what others have left: entries that have been idle for too long become pending for this consumer. An entry that is
-- pending under another name of the same worker stays there, and its idle time starts again: it may well be in hand, and its holder
-- knows it under that name. XAUTOCLAIM makes no such difference; for the rest this does as it does, on every server alike. The delivery
-- count stays as it was; it is raised when a try really begins.
-- KEYS: stream, retry records
-- ARGV: group, consumer, idle milliseconds, lowest id, most entries, then all names of this worker
-- Looks at no more than ten times as many entries as it may take.
-- Answers { last id looked at or "0-0" at the end, { { id, deliveries, fields or nil, retry record or nil, owner }, ... } }.
local idle, most = tonumber(ARGV[3]), tonumber(ARGV[5])
local own = {}
for i = 6, #ARGV do
  own[ARGV[i]] = true
end
local rows = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[4], '+', most * 10)
local taken, last = {}, '0-0'
for _, row in ipairs(rows) do
  local id, owner, count = row[1], row[2], row[4]
  if row[3] >= idle then
    if #taken == most then
      return { last, taken }
    end
    local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
    if entry then
      owner = own[owner] and owner or ARGV[2]
      redis.call('XCLAIM', KEYS[1], ARGV[1], owner, 0, id, 'RETRYCOUNT', count, 'JUSTID')
      taken[#taken + 1] = { id, count, entry[2], redis.call('HGET', KEYS[2], id), owner }
    else
      redis.call('XACK', KEYS[1], ARGV[1], id)
      redis.call('HDEL', KEYS[2], id)
      taken[#taken + 1] = { id, 0, false, false, owner }
    end
  end
  last = id
end
return { #rows < most * 10 and '0-0' or last, taken }

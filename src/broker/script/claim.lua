-- Takes over what others have left: entries that have been idle for too long become pending for this consumer. JUSTID keeps the
-- delivery count as it was (the count is raised when a try really begins) and, unlike the full form, names deleted entries on 6.2, too.
-- KEYS: stream, retry records
-- ARGV: group, consumer, idle milliseconds, cursor, most entries
-- Answers { next cursor, { { id, deliveries, fields or nil, retry record or nil }, ... }, { ids that 7.0 and later dropped as deleted } }.
local reply = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5], 'JUSTID')
local taken = {}
for _, id in ipairs(reply[2]) do
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  if entry then
    local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
    taken[#taken + 1] = { id, pending and pending[4] or 1, entry[2], redis.call('HGET', KEYS[2], id) }
  else
    redis.call('XACK', KEYS[1], ARGV[1], id)
    redis.call('HDEL', KEYS[2], id)
    taken[#taken + 1] = { id, 0, false, false }
  end
end
local deleted = reply[3] or {}
for _, id in ipairs(deleted) do
  redis.call('HDEL', KEYS[2], id)
end
return { reply[1], taken, deleted }

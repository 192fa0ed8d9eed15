-- Takes up what a consumer has pending, with content, delivery count and retry record. From here on it is in hand, so its idle time
-- starts again: else a sweep would take for dead what is just being revived. What was deleted from the stream while it was pending
-- cannot be handled any more: it is acknowledged here and named in the answer.
-- KEYS: stream, retry records
-- ARGV: group, consumer, lowest id, most entries
-- Answers { { id, deliveries, fields or nil, retry record or nil }, ... } in the order of the ids.
local found = {}
for _, pending in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], '+', ARGV[4], ARGV[2])) do
  local id = pending[1]
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  if entry then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'RETRYCOUNT', pending[4], 'JUSTID')
    found[#found + 1] = { id, pending[4], entry[2], redis.call('HGET', KEYS[2], id) }
  else
    redis.call('XACK', KEYS[1], ARGV[1], id)
    redis.call('HDEL', KEYS[2], id)
    found[#found + 1] = { id, pending[4], false, false }
  end
end
return found

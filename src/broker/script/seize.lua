-- Takes one entry over although Redis says that it is not idle: when the server's clock has stepped back, idle times say nothing. Only if
-- owner and delivery count are still those that were watched.
-- KEYS: stream, retry records
-- ARGV: group, consumer, entry id, owner, delivery count
-- Answers { { id, deliveries, fields or nil, retry record or nil } }, or nothing when the entry has moved on.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)[1]
if not pending or pending[2] ~= ARGV[4] or pending[4] ~= tonumber(ARGV[5]) then
  return {}
end
local entry = redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])[1]
if not entry then
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
  redis.call('HDEL', KEYS[2], ARGV[3])
  return { { ARGV[3], pending[4], false, false } }
end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'RETRYCOUNT', pending[4], 'JUSTID')
return { { ARGV[3], pending[4], entry[2], redis.call('HGET', KEYS[2], ARGV[3]) } }

-- Where a group begins again that was lost: behind its watermark, where that is one of the stream that stands there now.
-- KEYS: stream, watermark of the group
-- Answers the id above which everything is to be delivered.
local mark = redis.call('GET', KEYS[2])
local id, digest = string.match(mark or '', '^(%d+%-%d+) ?(%x*)$')
if not id or #redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1) == 0 then
  return '0-0'
end
local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
if entry then
  -- A mark that was left without a digest has the id alone to be known by.
  local same = digest == '' or digest == redis.sha1hex(cmsgpack.pack(entry[2]))
  return same and id or '0-0'
end
-- Its entry is gone. With everything that stood below it, it was trimmed; else this may be another stream.
local below = redis.call('XRANGE', KEYS[1], '-', id, 'COUNT', 1)
return #below == 0 and id or '0-0'

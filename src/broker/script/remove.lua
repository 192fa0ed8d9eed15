-- Removes a consumer of the group if, and only if, it has nothing pending: XGROUP DELCONSUMER would throw its pending entries away.
-- KEYS: stream
-- ARGV: group, consumer
-- Answers 1 when it was removed, 0 when it has entries pending or does not exist.
for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for i = 1, #fields, 2 do
    consumer[fields[i]] = fields[i + 1]
  end
  if consumer['name'] == ARGV[2] then
    if consumer['pending'] ~= 0 then
      return 0
    end
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
    return 1
  end
end
return 0

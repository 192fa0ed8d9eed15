-- Renews the lock on an instance's name, or gives it up, if it is still ours. A lock that ran out and that nobody has taken is ours again.
-- KEYS: lock, count of handed back entries
-- ARGV: our token, milliseconds to hold it (0 gives it up)
-- Answers { 1 when the lock was ours or 0 when it is somebody else's, how often entries were handed back }.
local handed_back = tonumber(redis.call('GET', KEYS[2]) or '0')
local holder = redis.call('GET', KEYS[1])
if ARGV[2] == '0' then
  if holder == ARGV[1] then
    redis.call('DEL', KEYS[1])
    return { 1, handed_back }
  end
  return { 0, handed_back }
end
if holder and holder ~= ARGV[1] then
  return { 0, handed_back }
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return { 1, handed_back }

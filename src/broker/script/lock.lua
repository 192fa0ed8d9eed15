-- Renews the lock on an instance's name, or gives it up, if it is still ours. A lock that ran out and that nobody has taken is ours again.
-- KEYS: lock
-- ARGV: our token, milliseconds to hold it (0 gives it up)
-- Answers 1 when the lock was ours, 0 when it is somebody else's.
local holder = redis.call('GET', KEYS[1])
if ARGV[2] == '0' then
  if holder == ARGV[1] then
    redis.call('DEL', KEYS[1])
    return 1
  end
  return 0
end
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1

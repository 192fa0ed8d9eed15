-- Adds the event of a dead letter to the stream again, and deletes the letter. One step, and in this order: when the entry cannot be
-- added (out of memory, say), the script ends there and the letter stays. Whoever comes second finds no letter and adds nothing.
-- KEYS: stream, stream of dead letters
-- ARGV: letter id, then names and values of the entry's fields
-- Answers the id of the new entry, "gone" when there is no such letter, or "no-stream".
if #redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1]) == 0 then
  return 'gone'
end
local id = redis.call('XADD', KEYS[1], 'NOMKSTREAM', '*', unpack(ARGV, 2))
if not id then
  return 'no-stream'
end
redis.call('XDEL', KEYS[2], ARGV[1])
return id

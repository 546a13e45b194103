-- Takes over events that their makers have left lying. KEYS 1 head  2 events. ARGV 1 the epoch  2 replica
-- 3 milliseconds that an event must have lain  4 how many at the most.
-- Answers the events; nothing where the shard is lost, or is another.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'lost')
if head[1] ~= ARGV[1] or head[2] then return false end
return redis.call('XAUTOCLAIM', KEYS[2], 'journal', ARGV[2], ARGV[3], '0-0', 'COUNT', ARGV[4])[2]

-- Begins a shard anew in place of one that is lost. KEYS 1 head  2 slots  3 due  4 ids  5 settled  6 events.
-- ARGV 1 its epoch  2 the epochs that it takes the place of, one behind the other  3 the events so far
-- 4, 5 the epoch and the events as they were found: where they are others by now nothing is done, and the answer is 0.
-- 6 what the head says of entities; '' if nothing.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'time')
if (head[1] or '') ~= ARGV[4] or (head[2] or '0') ~= ARGV[5] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'after', ARGV[2], 'head', ARGV[3], 'pending', 0)
if head[3] then redis.call('HSET', KEYS[1], 'time', head[3]) end
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'entities', ARGV[6]) end
redis.call('XGROUP', 'CREATE', KEYS[6], 'journal', '0', 'MKSTREAM')
return 1

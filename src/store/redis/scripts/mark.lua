-- Marks a shard as one that lost something: every script and every reader refuses it until it begins anew. KEYS 1 head.
-- ARGV 1 its epoch as it was found; '' where there was none  2 what is wrong with it.
if (redis.call('HGET', KEYS[1], 'epoch') or '') ~= ARGV[1] then return 0 end
if redis.call('HEXISTS', KEYS[1], 'lost') == 0 then redis.call('HSET', KEYS[1], 'lost', ARGV[2]) end
return 1

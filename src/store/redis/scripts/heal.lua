-- Empties a slot whose approval is not there any more. KEYS 1 slots  2 the approval. ARGV 1 binding  2 approval.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] or redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])

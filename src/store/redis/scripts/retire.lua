-- Lets go of a settled approval whose time here is over. KEYS 1 the approval  2 slots  3 ids  4 settled  5 due
-- 6 head. ARGV 1 approval  2 binding  3 the epoch.
local head = redis.call('HMGET', KEYS[6], 'epoch', 'lost', 'time')
if head[1] ~= ARGV[3] or head[2] then return 0 end
local time = redis.call('TIME')
local now = math.max(time[1] * 1000000 + time[2], tonumber(head[3] or '0'))
local until_then = redis.call('ZSCORE', KEYS[4], ARGV[1])
if not until_then or now < tonumber(until_then) then return 0 end
if redis.call('ZSCORE', KEYS[5], ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1])
if redis.call('HGET', KEYS[2], ARGV[2]) == ARGV[1] then redis.call('HDEL', KEYS[2], ARGV[2]) end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
return 1

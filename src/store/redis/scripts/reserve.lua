-- A place among what waits for people of one principal, until the deadline at the latest. Openings of the same query share
-- one. KEYS 1 the places  2 head. ARGV 1 binding  2 deadline  3 places at the most.
-- Answers 1: a new place, 2: one that was there, 0: there is none, -1: the shard is lost.
if redis.call('HEXISTS', KEYS[2], 'lost') == 1 then return -1 end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not known and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', tonumber(last[2]) / 1000 + 1000))
return known and 2 or 1

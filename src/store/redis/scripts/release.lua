-- Gives a place back, unless another opening of the same query has it by now: that has a later deadline. KEYS 1 the places.
-- ARGV 1 binding  2 deadline of what is settled. Openings within five seconds may have been one, and the first deadline stayed.
local until_then = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or '0')
local deadline = tonumber(ARGV[2])
if until_then <= deadline and until_then >= deadline - 5000000 then redis.call('ZREM', KEYS[1], ARGV[1]) end
return 1

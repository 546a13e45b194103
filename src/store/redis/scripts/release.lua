-- Gives a place back, unless it is that of a later opening of the same query. KEYS 1 the places.
-- ARGV 1 binding  2 deadline of what is settled. Openings within five seconds may have been one.
local until_then = redis.call('ZSCORE', KEYS[1], ARGV[1])
if until_then and tonumber(until_then) <= ARGV[2] + 5000000 then redis.call('ZREM', KEYS[1], ARGV[1]) end
return 1

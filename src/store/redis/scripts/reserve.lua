-- A place among what waits for people of one principal, asked for by one caller, until the deadline at the latest. Openings of the same
-- query share one. Each opening counts once, of which a minute has so many: whoever asks at the same time, in place of the same, opens the
-- same; whoever asks in place of one that was settled opens another, also while the place of that one is not given back yet.
-- KEYS 1 the places  2 the openings of the last minute (set: places by when they were taken)  3 head.
-- ARGV 1 binding  2 deadline  3 places at the most  4 openings in a minute at the most
-- 5 the approval in whose place it is opened, and its version ('': none).
-- Answers 1: a new place, 2: one that was there, 0: there is none, 3: the shard is lost, or less than 0: so many microseconds
-- too early.
if redis.call('HEXISTS', KEYS[3], 'lost') == 1 then return 3 end
local time = redis.call('TIME')
local now = math.max(time[1] * 1000000 + time[2], tonumber(redis.call('HGET', KEYS[3], 'time') or '0'))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
local opening = ARGV[1] .. ARGV[5]
local counted = redis.call('ZSCORE', KEYS[2], opening)
if not (known and counted) then
  if not known and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - 60000000))
  local over = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[4])
  if over >= 0 then
    local oldest = redis.call('ZRANGE', KEYS[2], over, over, 'WITHSCORES')
    return math.min(-1, now - 60000000 - tonumber(oldest[2]))
  end
  local moment = string.format('%.0f', now)
  if counted then opening = opening .. ' ' .. moment end
  redis.call('ZADD', KEYS[2], moment, opening)
  redis.call('PEXPIREAT', KEYS[2], string.format('%.0f', now / 1000 + 61000))
end
-- Those who open the same have one deadline, but for the moment between their questions: the first stays, by which any of them
-- gives it back (`release.lua`).
if not (known and counted and tonumber(ARGV[2]) - tonumber(known) <= 5000000) then
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
end
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', tonumber(last[2]) / 1000 + 1000))
return known and 2 or 1

-- Whether a shard may be changed, and at what time; the beginning of every script that makes an event. `now` is this server's
-- time, but never earlier than a time that was told before, here or by whoever had the shard before a failover: until this clock
-- has come that far, time stands still. A clock that is far off what the author of a change has seen of it counts for nothing.
--
-- Takes the head (hash: epoch, head, lost, time), the epoch and the newest head that the author knows of, the time that he goes
-- by, how far clocks may be off, and another field of the head that is wanted. Answers why not (`lost`, `epoch`, `behind`,
-- `clock`) or nothing, then now, the head, this clock, and the field.
local function enter(key, epoch, newest, told, off, field)
  told, off = tonumber(told), tonumber(off)
  local time = redis.call('TIME')
  local clock = time[1] * 1000000 + time[2]
  local head = redis.call('HMGET', key, 'epoch', 'head', 'lost', 'time', field)
  local at = tonumber(head[2] or '0')
  local now = math.max(clock, told, tonumber(head[4] or '0'))
  local refused = nil
  if head[3] then refused = 'lost'
  elseif head[1] ~= epoch then refused = 'epoch'
  elseif at < tonumber(newest) then refused = 'behind'
  elseif clock > told + off or now > clock + off then refused = 'clock'
  end
  -- Also a write, so that WAIT covers all that was written before it, whatever comes of this.
  if not refused then redis.call('HSET', key, 'time', string.format('%.0f', now)) end
  return refused, now, at, clock, head[5]
end

-- Takes up a shard. KEYS 1 head  2 events. ARGV 1 the epoch of a new one; '' where there must be one already.
-- Answers { epoch, head, clock, the epochs before it, why it is lost, the time it is there }. One that is lost is not begun but by `renew.lua`.
if ARGV[1] ~= '' and redis.call('HEXISTS', KEYS[1], 'epoch') == 0 and redis.call('HEXISTS', KEYS[1], 'lost') == 0 then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'head', 0, 'pending', 0)
end
local known = false
if redis.call('EXISTS', KEYS[2]) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[2])) do
    for field = 1, #group, 2 do
      if group[field] == 'name' and group[field + 1] == 'journal' then known = true end
    end
  end
end
if not known and redis.call('HEXISTS', KEYS[1], 'epoch') == 1 then
  redis.call('XGROUP', 'CREATE', KEYS[2], 'journal', '0', 'MKSTREAM')
end
local time = redis.call('TIME')
local head = redis.call('HMGET', KEYS[1], 'epoch', 'head', 'after', 'lost', 'time')
return { head[1], tonumber(head[2] or '0'), time[1] * 1000000 + time[2], head[3] or '', head[4] or '', tonumber(head[5] or '0') }

-- Puts events that journals tell of into the stream of a shard that is lost, before it begins anew (`renew.lua`). KEYS 1 head  2 events.
-- ARGV 1 who does it  2 `first` with the first of them, which are put in place of all that is there
-- 3 and on, for each event: number, moment, record; its epoch ('': the one that begins); approval, binding, state ('' each: nobody need hear of it).
-- Answers 0 where the shard is not lost any more, or somebody else is at it.
local head = redis.call('HMGET', KEYS[1], 'lost', 'filling')
if not head[1] then return 0 end
if ARGV[2] == 'first' then
  redis.call('HSET', KEYS[1], 'filling', ARGV[1])
  redis.call('DEL', KEYS[2])
elseif head[2] ~= ARGV[1] then
  return 0
end
for at = 3, #ARGV, 7 do
  local place, moment, record, epoch, id = ARGV[at] .. '-0', ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  if id ~= '' then
    redis.call('XADD', KEYS[2], place, 'a', id, 'b', ARGV[at + 5], 's', ARGV[at + 6], 'd', '0', 't', moment, 'r', record)
  else
    redis.call('XADD', KEYS[2], place, 'e', epoch, 't', moment, 'r', record)
  end
end
return 1

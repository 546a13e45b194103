-- One fact, checked and made true in one step, in one shard; behind `enter.lua`.
--
-- KEYS  1 head (hash: epoch, head, pending, time)      2 the approval (list: what it is now, then its records)
--       3 slots (hash: binding -> approval)            4 due (set: approvals by when time moves them)
--       5 ids (set: approvals in the order of time)    6 settled (set: approvals by when they may go)
--       7 events (stream)                              8 the answer under the idempotency key
--       9 the approval that its author saw in the slot
-- ARGV  1 epoch  2 the newest head its author knows of  3 replica
--       4 kind: `open`, `move`, or `hold`, which changes nothing and is refused unless all is still as its author saw it
--       5 approval  6 binding
--       7 version seen (of the approval or of the one in the slot; '' if none)
--       8 approval seen in the slot (open)
--       9 what the approval is then: `version due state uses`  10 the record that makes it so ('': none is needed)
--      11 the event  12 `timed` if only time may do this
--      13 pending at the most (open)  14 milliseconds that settled approvals stay
--      15 name of the decision answered ('': no key)  16, 17 the ones it was decided in sight of
--      18 the answer to remember ('': none)  19 for how many milliseconds
--      20 the time that its author goes by  21 how far clocks may be off
--      22 `stays` if it may not go when it is settled  23 what the approval is by what its author saw, to the letter ('': not known)
--
-- Answers { word, now, head, clock }: `ok`, or why not: `lost`, `epoch`, `behind`, `clock`, `conflict`, `closed`, `full`.
local refused, now, at, clock, pending = enter(KEYS[1], ARGV[1], ARGV[2], ARGV[20], ARGV[21], 'pending')
local function answer(word) return { word, now, at, clock } end
if refused then return answer(refused) end

local function what(key)
  local meta = redis.call('LINDEX', key, 0)
  if not meta then return nil end
  local version, due, state = string.match(meta, '^(%d+) (%d+) (%a+)')
  return { version = version, due = tonumber(due), state = state, meta = meta }
end

if ARGV[15] ~= '' then
  local earlier = redis.call('GETRANGE', KEYS[8], 0, 15)
  if earlier ~= '' and earlier ~= ARGV[16] and earlier ~= ARGV[17] then return answer('conflict') end
end

local kind, id, seen = ARGV[4], ARGV[5], ARGV[7]

if kind == 'open' then
  local stands = redis.call('HGET', KEYS[3], ARGV[6]) or ''
  if stands ~= ARGV[8] then return answer('conflict') end
  if stands ~= '' then
    local before = what(KEYS[9])
    if not before or before.version ~= seen then return answer('conflict') end
    if before.due > 0 and now >= before.due then return answer('conflict') end
  end
  local deadline = tonumber(string.match(ARGV[9], '^%d+ (%d+)'))
  if now >= deadline then return answer('conflict') end
  if tonumber(pending or '0') >= tonumber(ARGV[13]) then return answer('full') end
elseif seen ~= '' then
  local before = what(KEYS[2])
  if not before then return answer('closed') end
  if before.version ~= seen then return answer('conflict') end
  -- INVARIANT: one version of two lives of an approval, of which a failover lost one, is not the same.
  if ARGV[23] ~= '' and before.meta ~= ARGV[23] then return answer('conflict') end
  local overdue = before.due > 0 and now >= before.due
  if kind == 'hold' and overdue then return answer('conflict') end
  if kind == 'move' then
    -- INVARIANT: once time has moved an approval on, nothing else can be written but that, and that not before.
    local timed = ARGV[12] == 'timed'
    if timed and not overdue then return answer('conflict') end
    if not timed and overdue and before.state ~= 'consumed' then return answer('conflict') end
    if before.state == 'pending' and not string.find(ARGV[9], ' pending ', 1, true) then
      redis.call('HINCRBY', KEYS[1], 'pending', -1)
    end
  end
end

if ARGV[18] ~= '' then redis.call('SET', KEYS[8], ARGV[15] .. ARGV[18], 'PX', ARGV[19]) end

if kind == 'hold' then
  return answer('ok')
end

at = redis.call('HINCRBY', KEYS[1], 'head', 1)
local meta = ARGV[9] .. ' ' .. string.format('%.0f', at)
if kind == 'open' then
  redis.call('RPUSH', KEYS[2], meta, ARGV[10])
  redis.call('HSET', KEYS[3], ARGV[6], id)
  redis.call('ZADD', KEYS[5], 0, id)
  redis.call('HINCRBY', KEYS[1], 'pending', 1)
else
  redis.call('LSET', KEYS[2], 0, meta)
  if ARGV[10] ~= '' then redis.call('RPUSH', KEYS[2], ARGV[10]) end
end
local due, state = string.match(ARGV[9], '^%d+ (%d+) (%a+)')
if due ~= '0' then
  redis.call('ZADD', KEYS[4], due, id)
else
  redis.call('ZREM', KEYS[4], id)
end
if due == '0' and state ~= 'pending' and state ~= 'approved' and ARGV[22] ~= 'stays' then
  redis.call('ZADD', KEYS[6], string.format('%.0f', now + ARGV[14] * 1000), id)
else
  redis.call('ZREM', KEYS[6], id)
end
local place = string.format('%.0f-0', at)
redis.call('XADD', KEYS[7], place, 'a', id, 'b', ARGV[6], 's', state, 'd', due, 't', string.format('%.0f', now), 'r', ARGV[11])
-- The maker's to journal; whoever finds it lying there too long takes it over.
redis.call('XCLAIM', KEYS[7], 'journal', ARGV[3], 0, place, 'FORCE', 'JUSTID')
return answer('ok')

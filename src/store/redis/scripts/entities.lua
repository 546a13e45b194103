-- One change of the entities that were put over the API, checked and made true in one step; behind `enter.lua`.
--
-- KEYS  1 head  2 entities (hash: name -> the record that says what is known of it)  3 events
-- ARGV  1 epoch  2 the newest head its author knows of  3 replica  4 version seen  5 the event
--       6 the time that its author goes by  7 how far clocks may be off
--       8 how many entities go; their names; then the name and the record of each that is put
--
-- Answers { word, now, head, clock }: `ok`, or why not: `lost`, `epoch`, `behind`, `clock`, `conflict`.
local refused, now, at, clock, newest = enter(KEYS[1], ARGV[1], ARGV[2], ARGV[6], ARGV[7], 'entities')
local function answer(word) return { word, now, at, clock } end
if refused then return answer(refused) end

local version, before, count = '1', '0', '0'
if newest then version, before, count = string.match(newest, '^(%d+) (%d+) (%d+)$') end
if version ~= ARGV[4] then return answer('conflict') end

local gone = tonumber(ARGV[8])
for place = 9, 8 + gone do count = count - redis.call('HDEL', KEYS[2], ARGV[place]) end
for place = 9 + gone, #ARGV, 2 do count = count + redis.call('HSET', KEYS[2], ARGV[place], ARGV[place + 1]) end
at = redis.call('HINCRBY', KEYS[1], 'head', 1)
local event = string.format('%.0f', at)
redis.call('HSET', KEYS[1], 'entities', string.format('%.0f %s %.0f', version + 1, event, count))
redis.call('XADD', KEYS[3], event .. '-0', 'n', before, 't', string.format('%.0f', now), 'r', ARGV[5])
-- The maker's to journal, as every event.
redis.call('XCLAIM', KEYS[3], 'journal', ARGV[3], 0, event .. '-0', 'FORCE', 'JUSTID')
return answer('ok')

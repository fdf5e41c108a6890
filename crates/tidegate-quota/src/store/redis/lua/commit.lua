-- Writes what was reckoned from a quota, if it is still as it was read. KEYS: quota, members, tombs, pools, holders. ARGV: the
-- revision and the server that it was read from, and commands, each with the number of its arguments before it.

local revision = redis.call('HGET', KEYS[1], 'rev') or ''
if revision ~= ARGV[1] or run_id() ~= ARGV[2] then
  return 0
end
-- First, so that whoever has read it before finds it changed, whatever happens below.
if revision ~= '' then
  redis.call('HINCRBY', KEYS[1], 'rev', 1)
  redis.call('HDEL', KEYS[1], 'busy')
end
local at = 3
while tonumber(ARGV[at]) do
  local count = tonumber(ARGV[at])
  redis.call(unpack(ARGV, at + 1, at + count))
  at = at + count + 1
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'pools', redis.call('SCARD', KEYS[4]))
end
return 1

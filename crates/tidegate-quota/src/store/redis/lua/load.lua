-- A quota as it is. KEYS: quota, members, tombs, pools, holders. ARGV: whether the pools are wanted, whether exchanges are to
-- wait for a moment.

local BUSY = 500000

local now = server_now()
if ARGV[2] == '1' and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'busy', string.format('%.0f', now + BUSY))
end
local pools = {}
if ARGV[1] == '1' then
  for _, partition in ipairs(redis.call('SMEMBERS', KEYS[4])) do
    pools[#pools + 1] = partition
    pools[#pools + 1] = redis.call('HGETALL', KEYS[4] .. ':' .. partition)
    pools[#pools + 1] = redis.call('HGETALL', KEYS[5] .. ':' .. partition)
  end
end
return {
  string.format('%.0f', now),
  run_id(),
  redis.call('HGETALL', KEYS[1]),
  redis.call('HGETALL', KEYS[2]),
  redis.call('HGETALL', KEYS[3]),
  redis.call('SCARD', KEYS[4]),
  pools,
}

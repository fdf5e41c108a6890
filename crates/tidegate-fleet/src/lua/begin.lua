-- ARGV: job, queue, then fields and values. A job that is there stays as it is, unless it is still being loaded; says its state.
local id = ARGV[1]
local state = redis.call('HGET', job(id), 'state')
if state and state ~= 'loading' then return state end
if not state then
  local seq = redis.call('INCR', P .. 'seq')
  redis.call('HSET', job(id), 'state', 'loading', 'loaded', 0, 'seq', seq)
  redis.call('ZADD', P .. 'jobs', seq, id)
  redis.call('XGROUP', 'CREATE', stream(id), GROUP, '0', 'MKSTREAM')
end
redis.call('HSET', job(id), 'queue', ARGV[2])
for i = 3, #ARGV, 2 do redis.call('HSET', job(id), ARGV[i], ARGV[i + 1]) end
return 'loading'

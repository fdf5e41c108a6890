-- ARGV: job. All its shards are there: it may begin.
local id = ARGV[1]
local now = redis.call('HMGET', job(id), 'state', 'shards', 'queue', 'seq')
if now[1] ~= 'loading' then return now[1] or '' end
if tonumber(now[2]) == redis.call('HLEN', done(id)) then
  redis.call('HSET', job(id), 'state', 'done')
  return 'done'
end
redis.call('HSET', job(id), 'state', 'open')
redis.call('ZADD', P .. 'queue:' .. now[3], now[4], id)
return 'open'

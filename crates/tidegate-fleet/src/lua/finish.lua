-- ARGV: worker, job, entry, shard, epoch, epoch of the part that is complete, results, failures, unknown, calls bought again.
-- Says 'done' or 'refused', how many shards are left, whether it was this worker who ended the job, and the job's sums.
local me, id, entry, shard, epoch, part = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local recorded = redis.call('HGET', done(id), shard)
if recorded and recorded ~= part then return {'refused', '0', '0', '0', '0', '0'} end
if not recorded then
  if redis.call('HGET', epochs(id), shard) ~= epoch then return {'refused', '0', '0', '0', '0', '0'} end
  redis.call('HSET', done(id), shard, part)
  for i, field in ipairs({'ok', 'failed', 'unknown', 'rebought'}) do
    redis.call('HINCRBY', job(id), field, ARGV[6 + i])
  end
end
redis.call('HDEL', ended(id), shard, shard .. ':rows')
redis.pcall('XACK', stream(id), GROUP, entry)
local now = redis.call('HMGET', job(id), 'shards', 'state', 'queue', 'ended_by', 'ok', 'failed', 'unknown')
local left = tonumber(now[1]) - redis.call('HLEN', done(id))
local ended_by = now[4]
if left == 0 and now[2] ~= 'done' and now[2] ~= 'cancelled' then
  redis.call('HSET', job(id), 'state', 'done', 'why', '', 'ended_by', me)
  redis.call('ZREM', P .. 'queue:' .. now[3], id)
  ended_by = me
end
local mine = (left == 0 and ended_by == me) and '1' or '0'
return {'done', tostring(left), mine, now[5] or '0', now[6] or '0', now[7] or '0'}

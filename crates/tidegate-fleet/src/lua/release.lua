-- ARGV: worker, job, entry, shard, epoch, why nobody should go on with the job, or ''.
local me, id, entry, shard, epoch, why = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if why ~= '' and redis.call('HGET', job(id), 'state') == 'open' and redis.call('HGET', epochs(id), shard) == epoch then
  redis.call('HSET', job(id), 'state', 'paused', 'why', why)
end
if not is_mine(me, id, entry, shard, epoch) then return 0 end
redis.call('XCLAIM', stream(id), GROUP, NOBODY, 0, entry, 'IDLE', LONG_AGO, 'JUSTID')
return 1

-- ARGV: worker, job, entry, shard, epoch, an epoch that has been used. Gives one that has not, or '' if the shard is
-- not this worker's any more.
local me, id, entry, shard, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not is_mine(me, id, entry, shard, epoch) then return '' end
local next = math.max(tonumber(epoch), tonumber(ARGV[6])) + 1
redis.call('HSET', epochs(id), shard, next)
return tostring(next)

-- ARGV: worker, job, entry, shard, epoch. Says 'mine', with the job's state and why it is so, or 'lost'.
local me, id, entry, shard, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if not is_mine(me, id, entry, shard, epoch) then return {'lost', '', ''} end
redis.call('XCLAIM', stream(id), GROUP, me, 0, entry, 'IDLE', 0, 'JUSTID')
local now = redis.call('HMGET', job(id), 'state', 'why')
return {'mine', now[1] or '', now[2] or ''}

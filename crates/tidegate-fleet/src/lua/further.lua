-- ARGV: worker, job, entry, shard, epoch, rows that are done. Whoever has the shard of a dead worker looks at what that one has done
-- before it goes on: more than was there before is a reason to go on. Says why nobody should, or ''.
local me, id, entry, shard, epoch, rows = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
if not is_mine(me, id, entry, shard, epoch) then return '' end
local count = tonumber(redis.call('HGET', ended(id), shard) or '0')
local before = tonumber(redis.call('HGET', ended(id), shard .. ':rows') or '0')
if rows > before then
  redis.call('HSET', ended(id), shard, 0, shard .. ':rows', rows)
  return ''
end
return count >= MOST and end_of_workers(shard, count) or ''

-- ARGV: job, worker, why, how long that is known, in ms.
local key = refused(ARGV[1])
-- It may be forgotten meanwhile.
if redis.call('EXISTS', job(ARGV[1])) == 0 then return 0 end
redis.call('HSET', key, ARGV[2], ARGV[3])
redis.call('PEXPIRE', key, ARGV[4])
return 1

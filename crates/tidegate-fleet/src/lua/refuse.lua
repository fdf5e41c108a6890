-- ARGV: job, worker, why, how long that is known, in ms.
local key = P .. 'refused:' .. ARGV[1]
redis.call('HSET', key, ARGV[2], ARGV[3])
redis.call('PEXPIRE', key, ARGV[4])
return 1

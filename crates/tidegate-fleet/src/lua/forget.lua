-- ARGV: job. Takes a job that is over off the server, with all that there is of it. Says its state, or '' if there is no such job.
local id = ARGV[1]
local now = redis.call('HMGET', job(id), 'state', 'queue')
if not now[1] then return '' end
if now[1] ~= 'done' and now[1] ~= 'cancelled' then return now[1] end
redis.call('DEL', job(id), stream(id), epochs(id), done(id), refused(id), ended(id))
redis.call('ZREM', P .. 'jobs', id)
redis.call('ZREM', P .. 'queue:' .. now[2], id)
-- Numbers only have to differ from those of jobs that are there.
if redis.call('EXISTS', P .. 'jobs') == 0 then redis.call('DEL', P .. 'seq') end
return now[1]

-- ARGV: job, state that it is to have, why. Says the state that it has then, or '' if there is no such job.
local id, to, why = ARGV[1], ARGV[2], ARGV[3]
local now = redis.call('HMGET', job(id), 'state', 'queue')
local from = now[1]
if not from then return '' end
if from == 'done' or from == 'cancelled' or from == 'loading' then return from end
redis.call('HSET', job(id), 'state', to, 'why', why)
if to == 'cancelled' then redis.call('ZREM', P .. 'queue:' .. now[2], id) end
return to

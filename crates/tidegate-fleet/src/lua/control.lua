-- ARGV: job, state that it is to have, why, the job as it is written now, or '' if that has not changed. Says the state that it has then, or '' if there is no such job.
local id, to, why, text = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = redis.call('HMGET', job(id), 'state', 'queue')
local from = now[1]
if not from then return '' end
if from == 'done' or from == 'cancelled' then return from end
-- Whoever was to write its shards down may be gone.
if from == 'loading' and to ~= 'cancelled' then return from end
redis.call('HSET', job(id), 'state', to, 'why', why)
-- Whoever resumes it has it tried again.
if from == 'paused' and to == 'open' then redis.call('DEL', ended(id)) end
if text ~= '' then redis.call('HSET', job(id), 'job', text) end
if to == 'cancelled' then redis.call('ZREM', P .. 'queue:' .. now[2], id) end
return to

-- For each job, in the order in which they were submitted: its fields, shards that are done, that workers have, and what workers
-- have against it.
local jobs = {}
for _, id in ipairs(redis.call('ZRANGE', P .. 'jobs', 0, -1)) do
  local under_way = 0
  local pending = redis.pcall('XPENDING', stream(id), GROUP)
  if pending.err == nil and pending[4] then
    for _, of in ipairs(pending[4]) do
      if of[1] ~= NOBODY then under_way = under_way + tonumber(of[2]) end
    end
  end
  jobs[#jobs + 1] = {
    id, redis.call('HGETALL', job(id)), redis.call('HLEN', done(id)), under_way,
    redis.call('HGETALL', refused(id)),
  }
end
return jobs

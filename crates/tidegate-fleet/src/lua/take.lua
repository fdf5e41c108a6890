-- ARGV: worker, lease in ms, the one job that it works on or '', number of queues, the queues, jobs that this worker must not run.
-- Gives a shard: job, entry, shard, epoch, where it is in the input. Asked again after an answer that got lost, it gives the same shard again,
-- under another epoch. Without one, 'busy' if a job is under way that may have one later, or 'empty'.
local me, lease, only, count = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local skip = {}
for i = 5 + count, #ARGV do skip[ARGV[i]] = true end

local function next_entry(id)
  local key = stream(id)
  local pending = redis.call('XPENDING', key, GROUP, '-', '+', 1, me)
  if #pending > 0 then return redis.call('XCLAIM', key, GROUP, me, 0, pending[1][1])[1] end
  -- Those of the dead first: a job should not end with them.
  local from = '0-0'
  repeat
    local claimed = redis.call('XAUTOCLAIM', key, GROUP, me, lease, from, 'COUNT', 1)
    if #claimed[2] > 0 then return claimed[2][1] end
    from = claimed[1]
  until from == '0-0'
  local fresh = redis.call('XREADGROUP', 'GROUP', GROUP, me, 'COUNT', 1, 'STREAMS', key, '>')
  return fresh and fresh[1][2][1]
end

-- Gives a shard of this job if it has one; else says whether it may have one later.
local function shard_of(id)
  if redis.call('HGET', job(id), 'state') ~= 'open' then return nil, false end
  local entry = next_entry(id)
  while entry and redis.call('HEXISTS', done(id), entry[2][2]) == 1 do
    redis.call('XACK', stream(id), GROUP, entry[1])
    entry = next_entry(id)
  end
  if not entry then return nil, true end
  local shard = entry[2][2]
  return {id, entry[1], shard, tostring(redis.call('HINCRBY', epochs(id), shard, 1)), entry[2][4]}, true
end

if only ~= '' then
  local given, is_open = shard_of(only)
  return given or (is_open and 'busy' or 'empty')
end
local busy = false
for q = 1, count do
  for _, id in ipairs(redis.call('ZRANGE', P .. 'queue:' .. ARGV[4 + q], 0, -1)) do
    if not skip[id] then
      local given, is_open = shard_of(id)
      if given then return given end
      -- One job of a queue ends before the next begins.
      busy = busy or is_open
      if is_open then break end
    end
  end
end
return busy and 'busy' or 'empty'

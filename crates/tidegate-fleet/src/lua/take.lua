-- ARGV: worker, lease in ms, the one job that it works on or '', number of queues, the queues, jobs that this worker must not run.
-- Gives a shard: job, entry, shard, epoch, where it is in the input, how many workers it has ended. Asked again after an answer that
-- got lost, it gives the same shard again, under another epoch. Without one, 'busy' if a job is under way that may have one later, or 'empty'.
local me, lease, only, count = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local skip = {}
for i = 5 + count, #ARGV do skip[ARGV[i]] = true end

local function next_entry(id)
  local key = stream(id)
  local pending = redis.call('XPENDING', key, GROUP, '-', '+', 1, me)
  if #pending > 0 then return redis.call('XCLAIM', key, GROUP, me, 0, pending[1][1])[1] end
  -- Those of the dead first: a job should not end with them.
  local silent = redis.call('XPENDING', key, GROUP, 'IDLE', lease, '-', '+', 1)
  if #silent > 0 then
    local entry = redis.call('XCLAIM', key, GROUP, me, 0, silent[1][1])[1]
    -- What was handed back has ended nobody.
    if entry and silent[1][2] ~= NOBODY then
      local count = redis.call('HINCRBY', ended(id), entry[2][2], 1)
      -- Those after the last that was to look have not come so far.
      if count > MOST then
        redis.call('HSET', job(id), 'state', 'paused', 'why', end_of_workers(entry[2][2], count))
        redis.call('XCLAIM', key, GROUP, NOBODY, 0, entry[1], 'IDLE', LONG_AGO, 'JUSTID')
        return nil
      end
    end
    return entry
  end
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
  if not entry then return nil, redis.call('HGET', job(id), 'state') == 'open' end
  local shard = entry[2][2]
  local epoch = redis.call('HINCRBY', epochs(id), shard, 1)
  return {id, entry[1], shard, tostring(epoch), entry[2][4], redis.call('HGET', ended(id), shard) or '0'}, true
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

-- KEYS[1] is what all keys of the fleet begin with; they have one hash tag.
local P = KEYS[1]
local GROUP = 'workers'
-- Whose the shards are that were handed back: silent for longer than any lease.
local NOBODY = 'nobody'
local LONG_AGO = 86400000

local function job(id) return P .. 'job:' .. id end
local function stream(id) return P .. 'shards:' .. id end
local function epochs(id) return P .. 'epochs:' .. id end
local function done(id) return P .. 'done:' .. id end
local function refused(id) return P .. 'refused:' .. id end
-- Of shards whose workers have died: how many, since rows were last done, and how many rows then.
local function ended(id) return P .. 'ended:' .. id end
-- Workers that a shard may end without having brought it further. It is given once more then, to one that looks at its rows.
local MOST = 5

local function end_of_workers(shard, count)
  return 'shard ' .. shard .. ' has ended ' .. count .. ' workers, and none of them brought it further'
end

-- Whether the shard is with this worker, and nobody has taken it over since.
local function is_mine(me, id, entry, shard, epoch)
  if redis.call('HGET', epochs(id), shard) ~= epoch then return false end
  local pending = redis.pcall('XPENDING', stream(id), GROUP, entry, entry, 1)
  return pending.err == nil and #pending == 1 and pending[1][2] == me
end

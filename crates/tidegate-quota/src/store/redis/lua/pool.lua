-- A pool's rows, and what is done with its units: core's `Pool`.

local function new_pool(limits, held_until, now)
  local pool = {
    now = 0, paused = 0, resumes = 0, turns = {},
    count = 0, next_over = NEVER, shares_at = 0, sums = {},
  }
  for rank = 1, RANKS do
    pool.turns[rank] = { member = 0, since = 0, granted = 0 }
  end
  for i, limit in ipairs(limits) do
    pool[i] = { whole = limit.whole, held = 0, spare = { units = limit.whole } }
    if held_until > now then
      hold(pool[i].spare, held_until)
    end
  end
  return pool
end

local function read_pool(text)
  local read, pool = reader(text), { turns = {} }
  pool.now, pool.paused, pool.resumes = read(), read(), read()
  for rank = 1, RANKS do
    pool.turns[rank] = { member = read(), since = read(), granted = read() }
  end
  pool.count, pool.next_over, pool.shares_at = read(), read(), read()
  for i = 1, read() do
    pool[i] = { whole = read(), held = read(), spare = { units = read() } }
    read_dates(read, pool[i].spare)
  end
  return pool
end

local function pool_text(pool)
  local put, text = writer()
  put(pool.now) put(pool.paused) put(pool.resumes)
  for _, turn in ipairs(pool.turns) do
    put(turn.member) put(turn.since) put(turn.granted)
  end
  put(pool.count) put(pool.next_over) put(pool.shares_at)
  put(#pool)
  for _, own in ipairs(pool) do
    put(own.whole) put(own.held) put(own.spare.units)
    put_dates(put, own.spare)
  end
  return text()
end

-- What is needed of each member when all are looked at.
local function sum_text(member)
  local put, text = writer()
  put(member.till) put(member.timeout) put(member.rank) put(member.granted)
  for _, own in ipairs(member) do
    put(own.held) put(own.demand) put(own.need)
  end
  return text()
end

-- The same of all of them, by id.
local function sums(pool, limits)
  if not pool.sums then
    pool.sums = {}
    local flat = redis.call('HGETALL', pool.key)
    for i = 1, #flat, 2 do
      local id = tonumber(flat[i])
      if id then
        local read = reader(flat[i + 1])
        local sum = { id = id, till = read(), timeout = read(), rank = read(), granted = read() }
        for n = 1, #limits do
          sum[n] = { held = read(), demand = read(), need = read() }
        end
        pool.sums[id] = sum
      end
    end
  end
  return pool.sums
end

local function buried(pool)
  if not pool.buried then
    pool.buried = {}
    local read = reader(pool.was_there and redis.call('HGET', pool.key, 'buried') or '')
    local since = read()
    while since do
      pool.buried[#pool.buried + 1] = { since, read() }
      since = read()
    end
  end
  return pool.buried
end

local function buried_text(pool)
  local put, text = writer()
  for _, entry in ipairs(pool.buried) do
    put(entry[1]) put(entry[2])
  end
  return text()
end

local function find(pool, id, limits)
  local text = pool.was_there and redis.call('HGET', pool.holders, string.format('%.0f', id))
  return text and read_member(id, text, limits)
end

local function remove(pool, id)
  pool.count = pool.count - 1
  pool.gone[#pool.gone + 1] = string.format('%.0f', id)
  if pool.sums then
    pool.sums[id] = nil
  end
end

local function advance(limits, pool, now)
  pool.now = math.max(pool.now, now)
  for i, limit in ipairs(limits) do
    tidy(limit, pool[i].spare, pool.now)
  end
  return pool.now
end

-- After a limit was lowered, what comes back is not given out again.
local function shrink(own)
  take(own.spare, math.max(own.held + own.spare.units - own.whole, 0), NEVER)
end

local function inherit(limits, pool, member, counted_by, working)
  keep(buried(pool), function(entry) return entry[1] + REMEMBERED > pool.now end)
  pool.buried[#pool.buried + 1] = { pool.now, member.id }
  for i, limit in ipairs(limits) do
    local at = free_after(limit, counted_by + (limit.concurrency and working or 0))
    pool[i].held = pool[i].held - member[i].held
    merge(pool[i].spare, estate(member, i, counted_by, at))
    tidy(limit, pool[i].spare, pool.now)
    shrink(pool[i])
  end
end

-- Buries members that have not come back for as long as their calls may last.
local function expire(limits, pool, now)
  now = advance(limits, pool, now)
  if now < pool.next_over then
    return
  end
  local over, next_over = {}, NEVER
  for id, sum in pairs(sums(pool, limits)) do
    if sum.till + sum.timeout <= now then
      over[#over + 1] = id
    else
      next_over = math.min(next_over, sum.till + sum.timeout)
    end
  end
  table.sort(over)
  for _, id in ipairs(over) do
    local member = find(pool, id, limits)
    remove(pool, id)
    inherit(limits, pool, member, member.till + member.timeout, 0)
  end
  pool.next_over = next_over
end

local function hear(limits, pool, member, report, now)
  pool.paused = math.max(pool.paused, report.paused)
  local resized = member.resized ~= 0
  member.resized = 0
  for i, part in ipairs(report.ceded) do
    local limit, own = limits[i], member[i]
    -- What it does not have it cannot give.
    local ceded = take(part, own.held, NEVER)
    gives(pool, member, i, ceded)
    keep(own.resting, function(rest) return rest[1] > now end)
    if resized then
      refill(limit, ceded, now)
    end
    merge(pool[i].spare, ceded)
    tidy(limit, pool[i].spare, now)
    shrink(pool[i])
  end
  member.seq, member.granted, member.rank = report.seq, report.granted, report.rank
  -- Calls of before may still be under way with the time-out of before.
  member.timeout = math.max(member.timeout, report.timeout)
  for i = 1, #limits do
    local demand = report.demand[i] or { 0, 0 }
    member[i].demand, member[i].need = demand[1], demand[2]
  end
  -- So that it counts as alive below.
  member.till = math.max(member.till, now + LEASE)
end

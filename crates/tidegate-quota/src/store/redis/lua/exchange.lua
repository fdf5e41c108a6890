-- One member's exchange, in any number of partitions. All is read and reckoned before anything is written, so
-- that a script that fails has changed nothing.
--
-- KEYS: quota, members, tombs, pools, holders, and for each visit a pool and its holders.
-- ARGV: member, the version that it knows, the version of the limits below, whether it leaves, the server's time
--   at an earlier exchange of its process (0: none) and the most that can have passed since, limits;
--   for each visit: partition, whether it leaves, report.

local JITTER, AHEAD, SWEEP = 1000000, 30000000, 60000000

local function read_limits(text)
  local limits = {}
  for kind, rest in string.gmatch(text, '(%u) ([^;]*);') do
    local read = reader(rest)
    local limit = { kind = kind, whole = read(), kept = { 0, read(), read() } }
    if kind == 'H' then
      limit.hold, limit.concurrency = read(), read() == 1
      limit.grid = math.max(math.floor(limit.hold / 256), 1)
    elseif kind == 'P' then
      limit.hold, limit.lag = read(), read()
    else
      limit.steps, limit.grid = {}, 10000000
      for i = 1, read() do
        local counted_by = read()
        limit.steps[i] = { counted_by, read() }
      end
    end
    limits[#limits + 1] = limit
  end
  return limits
end

-- Members' dates of one and the same time differ by how long their messages took. They are kept on a grid, a little
-- later, so that few are apart.
local function on_grid(limit, at)
  if limit and limit.grid then
    local rest = math.fmod(at, limit.grid)
    at = rest > 0 and at + limit.grid - rest or at
  end
  return math.min(at, NEVER)
end

local function read_report(text, now, limits)
  local read = reader(text)
  local report = { seq = read(), rank = read(), granted = read(), timeout = read(), ceded = {}, demand = {} }
  local pause = read()
  report.paused = pause > 0 and math.min(now + pause, NEVER) or 0
  for i = 1, read() do
    local part = read_dates(read, { units = read() })
    -- Said as what was left when it was written: if it comes late, it is later.
    for _, dated in ipairs(part) do
      dated[1] = dated[1] > 0 and on_grid(limits[i], now + dated[1]) or now
    end
    report.ceded[i] = part
  end
  for i = 1, read() do
    local units = read()
    report.demand[i] = { units, read() }
  end
  return report
end

local function allotment(answer, paused, resumes, now)
  local put, text = writer()
  put(math.max(answer.till - now, 0))
  put(math.max(math.max(answer.paused, paused) - now, 0))
  put(resumes)
  put(#answer)
  put_answer(put, answer, now)
  return text()
end

-- A pool, or nothing if some of it is gone. One that is not listed was forgotten with all the others.
local function open_pool(key, holders, partition, limits, held, now)
  local is_listed = redis.call('SISMEMBER', KEYS[4], partition) == 1
  local head = is_listed and redis.call('HGET', key, 'pool.2')
  if is_listed and not head then
    return nil
  end
  local pool = head and read_pool(head) or new_pool(limits, held, now)
  pool.key, pool.holders, pool.was_there, pool.gone = key, holders, is_listed, {}
  if is_listed and redis.call('HLEN', holders) ~= pool.count then
    return nil
  end
  return pool
end

local function store_pool(pool, partition, now)
  if is_idle(pool, now) then
    if pool.was_there then
      redis.call('DEL', pool.key, pool.holders)
      redis.call('SREM', KEYS[4], partition)
    end
    return
  end
  if not pool.was_there then
    redis.call('DEL', pool.key, pool.holders)
  else
    for i = 1, #pool.gone, 1000 do
      local last = math.min(i + 999, #pool.gone)
      redis.call('HDEL', pool.key, unpack(pool.gone, i, last))
      redis.call('HDEL', pool.holders, unpack(pool.gone, i, last))
    end
  end
  local fields = { 'pool.2', pool_text(pool) }
  local function field(name, text)
    fields[#fields + 1] = name
    fields[#fields + 1] = text
  end
  if pool.buried then
    field('buried', buried_text(pool))
  end
  if pool.shares then
    field('shares', pool.shares)
  end
  if pool.member then
    local id = string.format('%.0f', pool.member.id)
    field(id, sum_text(pool.member))
    redis.call('HSET', pool.holders, id, member_text(pool.member))
  end
  redis.call('HSET', pool.key, unpack(fields))
  if not pool.was_there then
    redis.call('SADD', KEYS[4], partition)
  end
end

local function main()
  local now, id = server_now(), tonumber(ARGV[1])
  local row = redis.call('HMGET', KEYS[1], 'version', 'pools_since', 'boot', 'seen', 'paused', 'resumes', 'held',
    'gather', 'busy', 'swept', 'pools')
  local version, pools_since, seen = tonumber(row[1]), tonumber(row[2]), tonumber(row[4])
  local function text(number) return string.format('%.0f', number) end
  if not version then
    return { 'unknown', text(now) }
  end
  local function definition() return redis.call('HGET', KEYS[1], 'definition') end
  -- Dates by this clock mean nothing, or what stands here is not the latest.
  local before = tonumber(ARGV[5])
  if row[3] ~= run_id() then
    return { 'lost', text(now), 'run' }
  elseif now + JITTER < seen then
    return { 'lost', text(now), 'clock' }
  elseif before > 0 and now - before > tonumber(ARGV[6]) + AHEAD then
    return { 'lost', text(now), 'clock' }
  end
  -- Keys of it are gone: somebody has deleted them, or the server has thrown them away to make room.
  local known = redis.call('SCARD', KEYS[4])
  if known ~= tonumber(row[11] or '0') then
    return { 'lost', text(now), 'data' }
  end
  local busy = tonumber(row[9] or '0')
  if busy > now and busy - now < JITTER then
    return { 'busy', text(now) }
  end
  if tonumber(ARGV[3]) ~= version then
    return { 'terms', text(now), text(version), definition() }
  end
  local real_now = now
  now = math.max(now, seen)

  local knows, leaves = tonumber(ARGV[2]), ARGV[4] == '1'
  local field = text(id)
  local member = redis.call('HGET', KEYS[2], field)
  if not member then
    return { 'unknown', text(real_now) }
  end
  local till, timeout, who = string.match(member, '^%S+ (%S+) (%S+) (.*)$')
  local over = tonumber(till) + tonumber(timeout)
  -- Comes first, so that whoever has read the quota before finds it changed.
  local function begin_writing()
    redis.call('HINCRBY', KEYS[1], 'rev', 1)
    redis.call('HSET', KEYS[1], 'seen', text(now))
  end
  local function entomb(counted_by)
    redis.call('HDEL', KEYS[2], field)
    redis.call('HSET', KEYS[3], field, text(counted_by) .. ' ' .. text(now))
  end
  if over <= now then
    begin_writing()
    entomb(over)
    return { 'unknown', text(real_now) }
  end

  local pools, counted_by = {}, now
  if knows >= pools_since then
    local limits = read_limits(ARGV[7])
    local held, gathering = tonumber(row[7]), tonumber(row[8]) > now
    for i = 1, (#KEYS - 5) / 2 do
      local at = 8 + 3 * (i - 1)
      local pool = open_pool(KEYS[4 + 2 * i], KEYS[5 + 2 * i], ARGV[at], limits, held, now)
      if not pool then
        return { 'lost', text(real_now), 'data' }
      end
      expire(limits, pool, now)
      local report = read_report(ARGV[at + 2], now, limits)
      if leaves or ARGV[at + 1] == '1' then
        counted_by = math.max(counted_by, leave(limits, pool, id, report, now) or now)
        pool.answer = 'L'
      else
        local answer = exchange(limits, pool, id, report, now, gathering)
        pool.answer = answer and allotment(answer, tonumber(row[5]), tonumber(row[6]), now) or 'B'
      end
      pools[i] = pool
    end
    if beyond then
      return { 'terms', text(real_now), text(version), definition() }
    end
  end

  -- From here on everything is written.
  begin_writing()
  for i, pool in ipairs(pools) do
    store_pool(pool, ARGV[8 + 3 * (i - 1)], now)
  end
  if #pools > 0 then
    redis.call('HSET', KEYS[1], 'pools', redis.call('SCARD', KEYS[4]))
  end
  if leaves then
    entomb(counted_by)
  else
    redis.call('HSET', KEYS[2], field, text(now) .. ' ' .. text(now + LEASE) .. ' ' .. timeout .. ' ' .. who)
  end
  if knows < pools_since and not leaves then
    return { 'redefined', text(real_now), text(version), definition() }
  end
  local sweep = tonumber(row[10]) + SWEEP <= now and '1' or '0'
  local reply = { 'settled', text(real_now), text(version), knows ~= version and definition() or '', sweep }
  for _, pool in ipairs(pools) do
    reply[#reply + 1] = pool.answer
  end
  return reply
end

return main()

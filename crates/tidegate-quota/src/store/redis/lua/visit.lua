-- What a member does with a pool.

-- One exchange; nothing if the member is unknown there. While `gathering`, nothing is given out.
local function exchange(limits, pool, id, report, now, gathering)
  now = advance(limits, pool, now)
  local member = find(pool, id, limits)
  if member and pool.sums and not pool.sums[id] then
    member = nil -- it is over just now
  end
  if member and report.seq <= member.seq then
    return member.answer
  end
  if not member then
    for _, entry in ipairs(buried(pool)) do
      if entry[2] == id then
        return nil
      end
    end
    if report.seq ~= 1 then
      return nil
    end
    member = new_member(id, limits)
    pool.count = pool.count + 1
  end
  pool.member = member
  hear(limits, pool, member, report, now)
  local wanted, asides = targets(limits, pool, member, now)
  local answer = { till = now + LEASE, paused = pool.paused, resumes = pool.resumes }
  for i, limit in ipairs(limits) do
    local lacking = gathering and 0 or math.max(wanted[i] - member[i].held, 0)
    -- Those that are free first are for members of a higher priority.
    local aside = take(pool[i].spare, asides[i], NEVER)
    local part = take(pool[i].spare, lacking, given_until(limit, now))
    merge(pool[i].spare, aside)
    gets(pool, member, i, part, limit.kind == 'H')
    part.target = wanted[i]
    answer[i] = part
  end
  member.till, member.answer = answer.till, answer
  pool.next_over = math.min(pool.next_over, member.till + member.timeout)
  return answer
end

-- The last exchange of a member; the time by which all its calls were counted, if it is known.
local function leave(limits, pool, id, report, now)
  now = advance(limits, pool, now)
  local member = find(pool, id, limits)
  if not member or (pool.sums and not pool.sums[id]) then
    return nil
  end
  if report.seq > member.seq then
    hear(limits, pool, member, report, now)
  end
  remove(pool, id)
  local counted_by = math.min(now, member.till + member.timeout)
  inherit(limits, pool, member, counted_by, member.timeout)
  return counted_by
end

local function is_idle(pool, now)
  if pool.count > 0 or pool.paused > now then
    return false
  end
  for _, own in ipairs(pool) do
    if own.spare.units ~= own.whole or in_use(own.spare, now) > 0 then
      return false
    end
  end
  return true
end

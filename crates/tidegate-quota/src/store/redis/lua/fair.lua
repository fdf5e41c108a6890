-- Who should hold how much: core's `fair`, and whose turn it is.

local function div(a, b)
  local rest = math.fmod(a, b)
  return (a - rest) / b, rest
end

-- Max-min, up to what each wants; what nobody wants is divided evenly on top. `first` counts from 0.
local function divide(total, wants, first)
  local count, given, by_want = #wants, {}, {}
  for i = 1, count do
    given[i], by_want[i] = 0, i
  end
  table.sort(by_want, function(a, b) return wants[a] < wants[b] or (wants[a] == wants[b] and a < b) end)
  local left, modest = total, 0
  for _, i in ipairs(by_want) do
    if wants[i] > (div(left, count - modest)) then
      break
    end
    given[i] = wants[i]
    left = left - wants[i]
    modest = modest + 1
  end
  local rest = {}
  for place = modest < count and modest + 1 or 1, count do
    rest[#rest + 1] = by_want[place]
  end
  local function turn(i) return (i - 1 + count - first) % count end
  table.sort(rest, function(a, b) return turn(a) < turn(b) end)
  local each, more = div(left, math.max(#rest, 1))
  for place, i in ipairs(rest) do
    given[i] = given[i] + each + (place <= more and 1 or 0)
  end
  return given
end

local function divide_in_turn(total, wants, first, need)
  local given = divide(total, wants, first)
  need = math.min(need, total)
  if given[first + 1] and given[first + 1] < need then
    local others = {}
    for i, want in ipairs(wants) do
      if i ~= first + 1 then
        others[#others + 1] = want
      end
    end
    local next_one = #others == 0 and 0 or first % #others
    given = divide(total - need, others, next_one)
    table.insert(given, first + 1, need)
  end
  return given
end

local function wants_any(member)
  for _, own in ipairs(member) do
    if own.demand > 0 or own.need > 0 then
      return true
    end
  end
  return false
end

-- By priority, the highest first; `left` is what may be given from here on down. What each gets, and what each priority
-- has to leave spare.
local function divide_by_priority(total, claims, count)
  local given, asides = {}, {}
  local left, above, held, aside, first = total, 0, 0, 0, nil
  for rank = 1, RANKS do
    local own, need = claims[rank], 0
    for lower = rank, RANKS do
      need = math.max(need, claims[lower].need)
    end
    local kept = math.min(own.kept, math.max(total - need, 0))
    left = math.min(left, total - kept)
    aside = math.max(aside, math.max(kept, above) - held)
    asides[rank] = aside
    local wanted = 0
    for _, want in ipairs(own.wants) do
      wanted = math.min(wanted + want, NEVER)
    end
    local granted = math.min(left, wanted)
    for i, units in ipairs(divide_in_turn(granted, own.wants, own.first, own.need)) do
      given[own.places[i]] = units
    end
    left, above, held = left - granted, above + granted, held + own.held
    first = first or own.places[own.first + 1]
  end
  local nothing = {}
  for i = 1, count do
    nothing[i] = 0
  end
  for i, more in ipairs(divide(left, nothing, first - 1)) do
    given[i] = given[i] + more
  end
  return given, asides
end

-- The place among the members of a priority, from 0, of the one whose turn it is.
local function whose_turn(turn, alive, now)
  if #alive == 0 then
    return 0
  end
  if turn.member ~= 0 then
    for place, member in ipairs(alive) do
      if member.id == turn.member then
        local served = member.granted > turn.granted
        if wants_any(member) and (not served or now < turn.since + TURN) then
          return place - 1
        end
        break
      end
    end
  end
  local after = 0
  for place, member in ipairs(alive) do
    if member.id > turn.member then
      after = place - 1
      break
    end
  end
  local following = after
  for i = 0, #alive - 1 do
    local place = (after + i) % #alive
    if wants_any(alive[place + 1]) then
      following = place
      break
    end
  end
  local member = alive[following + 1]
  turn.member, turn.since, turn.granted = member.id, now, member.granted
  return following
end

-- What the members of a priority claim of a limit.
local function claims_of(pool, limits, i, rank, ranks, first)
  local own, is_lowest = ranks[rank], true
  for lower = rank + 1, RANKS do
    is_lowest = is_lowest and #ranks[lower] == 0
  end
  local at_first, rest = div(pool[i].whole, AT_FIRST)
  at_first = rest > 0 and at_first + 1 or at_first
  local claims = { places = {}, wants = {}, first = first, held = 0, kept = limits[i].kept[rank] }
  for place, other in ipairs(own) do
    local units = other[i]
    local want = math.max(units.demand, units.need)
    if not is_lowest then
      want = math.min(want, math.max(units.held * 2, units.need, at_first))
    end
    claims.places[place], claims.wants[place] = other.place, want
    claims.held = claims.held + units.held
  end
  claims.need = own[first + 1] and own[first + 1][i].need or 0
  return claims
end

-- What was found just now, among many. One that comes anew has its share when it is worked out next; if it comes before
-- others it has what its call needs.
local function shares_of(pool, limits, member)
  local shares, targets, asides = redis.call('HGET', pool.key, 'shares'), {}, {}
  local _, at = string.find(shares, string.format(';%.0f ', member.id), 1, true)
  local own = reader(at and string.match(shares, '^[^;]*', at) or '')
  for i = 1, #limits do
    targets[i] = own() or (not at and member.rank == 0 and member[i].need) or 0
  end
  local left = reader(string.match(shares, '^[^;]*'))
  for _ = 1, member.rank * #limits do
    left()
  end
  for i = 1, #limits do
    asides[i] = left()
  end
  return targets, asides
end

-- What a member should hold, and how much it leaves spare for those of higher priority.
local function targets(limits, pool, member, now)
  if pool.shares_at > 0 and now < pool.shares_at + STEADY then
    return shares_of(pool, limits, member)
  end
  local alive = { member }
  for id, other in pairs(sums(pool, limits)) do
    if other.till > now and id ~= member.id then
      alive[#alive + 1] = other
    end
  end
  table.sort(alive, function(a, b) return a.id < b.id end)
  local ranks, firsts = { {}, {}, {} }, {}
  for place, other in ipairs(alive) do
    other.place = place
    table.insert(ranks[other.rank + 1], other)
  end
  for rank = 1, RANKS do
    firsts[rank] = whose_turn(pool.turns[rank], ranks[rank], now)
  end
  local given, asides = {}, {}
  for i = 1, #limits do
    local stuck, claims = pool[i].held, {}
    for _, other in ipairs(alive) do
      stuck = stuck - other[i].held
    end
    for rank = 1, RANKS do
      claims[rank] = claims_of(pool, limits, i, rank, ranks, firsts[rank])
    end
    given[i], asides[i] = divide_by_priority(math.max(pool[i].whole - stuck, 0), claims, #alive)
  end
  local wanted, left = {}, {}
  for i = 1, #limits do
    wanted[i], left[i] = given[i][member.place], asides[i][member.rank + 1]
  end
  pool.shares_at = 0
  if #alive > MANY then
    local put, text = writer()
    for rank = 1, RANKS do
      for i = 1, #limits do
        put(asides[i][rank])
      end
    end
    local shares = { text() }
    for place, other in ipairs(alive) do
      put, text = writer()
      put(other.id)
      for i = 1, #limits do
        put(given[i][place])
      end
      shares[#shares + 1] = text()
    end
    pool.shares_at, pool.shares = now, table.concat(shares, ';')
  end
  return wanted, left
end

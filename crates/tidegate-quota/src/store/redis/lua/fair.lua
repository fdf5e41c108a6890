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

-- The place among those alive, from 0, of the one whose turn it is.
local function whose_turn(pool, alive, now)
  if pool.turn ~= 0 then
    for place, member in ipairs(alive) do
      if member.id == pool.turn then
        local served = member.granted > pool.turn_granted
        if wants_any(member) and (not served or now < pool.since + TURN) then
          return place - 1
        end
        break
      end
    end
  end
  local after = 0
  for place, member in ipairs(alive) do
    if member.id > pool.turn then
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
  pool.turn, pool.since, pool.turn_granted = member.id, now, member.granted
  return following
end

local function targets(limits, pool, member, now)
  if pool.shares_at > 0 and now < pool.shares_at + STEADY then
    local shares, targets = redis.call('HGET', pool.key, 'shares'), {}
    local _, at = string.find(shares, string.format(';%.0f ', member.id), 1, true)
    local own = reader(at and string.match(shares, '^[^;]*', at) or '')
    for i = 1, #limits do
      targets[i] = own() or 0
    end
    return targets
  end
  local alive, own = { member }, 1
  for id, other in pairs(sums(pool, limits)) do
    if other.till > now and id ~= member.id then
      alive[#alive + 1] = other
    end
  end
  table.sort(alive, function(a, b) return a.id < b.id end)
  for place, other in ipairs(alive) do
    if other.id == member.id then
      own = place
    end
  end
  local first = whose_turn(pool, alive, now)
  local given, targets = {}, {}
  for i = 1, #limits do
    local stuck, wants = pool[i].held, {}
    for place, other in ipairs(alive) do
      stuck = stuck - other[i].held
      wants[place] = other[i].demand
    end
    local total = math.max(pool[i].whole - stuck, 0)
    given[i] = divide_in_turn(total, wants, first, alive[first + 1][i].need)
    targets[i] = given[i][own]
  end
  pool.shares_at = 0
  if #alive > MANY then
    local shares = {}
    for place, other in ipairs(alive) do
      local put, text = writer()
      put(other.id)
      for i = 1, #limits do
        put(given[i][place])
      end
      shares[place] = text()
    end
    pool.shares_at, pool.shares = now, ';' .. table.concat(shares, ';')
  end
  return targets
end

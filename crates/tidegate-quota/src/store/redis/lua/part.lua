-- Core's `Pool`, line by line, where its rows are: see crates/tidegate-core/src/pool/.
--
-- A pool is two hashes. In the one are its own numbers (`pool.2`), ids that are over (`buried`), what was found to be fair
-- (`shares`), and of each member what is needed when all are looked at; in the other all of each member. Most exchanges
-- look at one member only: how much all hold is kept as a sum, and before `next_over` none can be over.
--
-- Times are whole microseconds of this server's clock. Numbers are Lua's, exact up to 2^53; what is kept
-- and said is decimal text, written by %.0f.

local NEVER = 9007199254740991 -- 2^53 - 1: in the year 2255
local LEASE, REMEMBERED, TURN, FEW = 3000000, 600000000, 1000000, 8
local MANY, STEADY, AT_FIRST, RANKS = 32, 100000, 32, 3

-- Numbers of a text, one after the other.
local function reader(text)
  local numbers, at = {}, 0
  for number in string.gmatch(text, '%S+') do
    numbers[#numbers + 1] = tonumber(number)
  end
  return function()
    at = at + 1
    return numbers[at]
  end
end

-- And back.
local function writer()
  local words = {}
  local function put(number)
    words[#words + 1] = string.format('%.0f', number)
  end
  return put, function() return table.concat(words, ' ') end
end

local function read_dates(read, part)
  for i = 1, read() do
    local at = read()
    part[i] = { at, read() }
  end
  return part
end

local function put_dates(put, part, now)
  put(#part)
  for i = 1, #part do
    put(now and math.max(part[i][1] - now, 0) or part[i][1])
    put(part[i][2])
  end
end

-- ---- meters ----

-- A calendar's date that its list does not reach: the client makes a longer one.
local beyond = false

-- When units are back that may have been used by calls counted by then.
local function free_after(limit, counted_by)
  if limit.kind ~= 'E' then
    return math.min(counted_by + limit.hold, NEVER)
  end
  for i = 1, #limit.steps do
    if counted_by <= limit.steps[i][1] then
      return limit.steps[i][2]
    end
  end
  beyond = true
  return NEVER
end

local function given_until(limit, now)
  return limit.kind == 'P' and now + limit.hold or NEVER
end

-- ---- parts: `units`, and dates in order as a list of { at, units } ----

local function keep(list, wanted)
  local kept = 0
  for i = 1, #list do
    local entry = list[i]
    list[i] = nil
    if wanted(entry) then
      kept = kept + 1
      list[kept] = entry
    end
  end
end

local function add(part, units, at)
  if units == 0 then
    return
  end
  part.units = part.units + units
  local place = 1
  while part[place] and part[place][1] < at do
    place = place + 1
  end
  if part[place] and part[place][1] == at then
    part[place][2] = part[place][2] + units
  else
    table.insert(part, place, { at, units })
  end
end

local function merge(part, other)
  local free = other.units
  for _, dated in ipairs(other) do
    local units = math.min(dated[2], free)
    free = free - units
    add(part, units, dated[1])
  end
  part.units = part.units + free
end

local function take(part, units, latest)
  units = math.min(units, part.units)
  local sum = 0
  for _, dated in ipairs(part) do
    sum = sum + dated[2]
  end
  local taken = { units = math.min(units, math.max(part.units - sum, 0)) }
  for _, dated in ipairs(part) do
    if dated[1] > latest then
      break
    end
    local n = math.min(units - taken.units, dated[2])
    dated[2] = dated[2] - n
    add(taken, n, dated[1])
  end
  keep(part, function(dated) return dated[2] > 0 end)
  part.units = part.units - taken.units
  return taken
end

-- No unit is free before `at`.
local function hold(part, at)
  local held = 0
  keep(part, function(dated) return dated[1] > at end)
  for _, dated in ipairs(part) do
    held = held + dated[2]
  end
  local units = part.units
  part.units = math.min(held, units)
  add(part, units - part.units, at)
end

local function in_use(part, now)
  local units = 0
  for _, dated in ipairs(part) do
    if dated[1] > now then
      units = units + dated[2]
    end
  end
  return units
end

-- Of a whole number of units and microseconds each: rounded up. Beyond 2^53 by a little more.
local function mean(waits, units)
  local rest = math.fmod(waits, units)
  local wait = (waits - rest) / units + (rest > 0 and 1 or 0)
  return waits <= NEVER and wait or math.ceil(wait * (1 + 1e-14)) + 1
end

local function tidy(limit, part, now)
  keep(part, function(dated) return dated[1] > now end)
  if limit.kind ~= 'P' then
    return
  end
  local most, filling = given_until(limit, now), 0
  while part[filling + 1] and part[filling + 1][1] <= most do
    filling = filling + 1
  end
  if filling <= FEW then
    return
  end
  local units, waits = 0, 0
  for i = 1, filling do
    units = units + part[i][2]
    waits = waits + part[i][2] * math.max(part[i][1] - now, limit.lag)
  end
  keep(part, function(dated) return dated[1] > most end)
  table.insert(part, 1, { now + mean(waits, units), units })
end

local function refill(limit, part, now)
  if limit.kind ~= 'P' then
    return
  end
  local used, empty = in_use(part, now), free_after(limit, now)
  local later, latest = {}, 0
  for _, dated in ipairs(part) do
    if dated[1] > empty then
      later[#later + 1] = dated
      latest = latest + dated[2]
    end
  end
  keep(part, function() return false end)
  part.units = part.units - math.min(used, part.units)
  add(part, used - latest, empty)
  for _, dated in ipairs(later) do
    add(part, dated[2], dated[1])
  end
end

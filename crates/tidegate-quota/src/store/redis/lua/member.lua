-- What a pool knows of a member: core's `Member`.

local function new_member(id, limits)
  local member = { id = id, till = 0, timeout = 0, seq = 0, rank = 0, granted = 0, resized = 0 }
  for i = 1, #limits do
    member[i] = { held = 0, latest = 0, demand = 0, need = 0, resting = {} }
  end
  return member
end

local function read_member(id, text, limits)
  local read = reader(text)
  local member = new_member(id, limits)
  member.till, member.timeout, member.seq = read(), read(), read()
  member.rank, member.granted, member.resized = read(), read(), read()
  for i = 1, #limits do
    local own = member[i]
    own.held, own.latest, own.demand, own.need = read(), read(), read(), read()
    read_dates(read, own.resting)
  end
  local answer = { till = read(), paused = read(), resumes = read() }
  for i = 1, read() do
    answer[i] = { target = read(), units = read() }
    read_dates(read, answer[i])
  end
  member.answer = answer
  return member
end

local function put_answer(put, answer, now)
  for _, part in ipairs(answer) do
    put(part.target)
    put(part.units)
    put_dates(put, part, now)
  end
end

local function member_text(member)
  local put, text = writer()
  put(member.till) put(member.timeout) put(member.seq)
  put(member.rank) put(member.granted) put(member.resized)
  for _, own in ipairs(member) do
    put(own.held) put(own.latest) put(own.demand) put(own.need)
    put_dates(put, own.resting)
  end
  local answer = member.answer
  put(answer.till) put(answer.paused) put(answer.resumes) put(#answer)
  put_answer(put, answer)
  return text()
end

local function gets(pool, member, i, part, rests)
  local own = member[i]
  own.held = own.held + part.units
  pool[i].held = pool[i].held + part.units
  for _, dated in ipairs(part) do
    own.latest = math.max(own.latest, dated[1])
    if rests then
      own.resting[#own.resting + 1] = { dated[1], dated[2] }
    end
  end
  if rests then
    table.sort(own.resting, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
  end
end

local function gives(pool, member, i, part)
  local own = member[i]
  own.held = own.held - part.units
  pool[i].held = pool[i].held - part.units
  for _, dated in ipairs(part) do
    local left, last = dated[2], 0
    while own.resting[last + 1] and own.resting[last + 1][1] <= dated[1] do
      last = last + 1
    end
    for place = last, 1, -1 do
      local gone = math.min(left, own.resting[place][2])
      own.resting[place][2] = own.resting[place][2] - gone
      left = left - gone
    end
  end
  keep(own.resting, function(rest) return rest[2] > 0 end)
end

local function estate(member, i, counted_by, at)
  local own, part = member[i], { units = 0 }
  for _, rest in ipairs(own.resting) do
    if rest[1] > counted_by then
      add(part, math.min(rest[2], own.held - part.units), rest[1])
    end
  end
  add(part, own.held - part.units, math.max(at, own.latest))
  return part
end

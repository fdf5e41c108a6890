-- What the server says of itself.

-- Microseconds since 1970, by this server's clock.
local function server_now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Another word after each start of a server, and on each server.
local function run_id()
  local info = redis.call('INFO', 'server')
  -- Plainly: a pattern would be tried at each letter.
  local _, at = string.find(info, 'run_id:', 1, true)
  return string.match(info, '^%w+', at + 1)
end

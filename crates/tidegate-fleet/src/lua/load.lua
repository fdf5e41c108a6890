-- ARGV: job, place of the first of these shards, then shard, where it is in the input, least epoch, epoch of its part that is
-- complete or ''.
-- Those that are there already are left out.
local id, place = ARGV[1], tonumber(ARGV[2])
if redis.call('HGET', job(id), 'state') ~= 'loading' then return 0 end
local loaded = tonumber(redis.call('HGET', job(id), 'loaded'))
for i = 3, #ARGV, 4 do
  if place == loaded then
    local shard, cut, epoch, part = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    if epoch ~= '0' then redis.call('HSET', epochs(id), shard, epoch) end
    if part == '' then
      redis.call('XADD', stream(id), '*', 'shard', shard, 'cut', cut)
    else
      redis.call('HSET', done(id), shard, part)
    end
    loaded = loaded + 1
  end
  place = place + 1
end
redis.call('HSET', job(id), 'loaded', loaded)
return loaded

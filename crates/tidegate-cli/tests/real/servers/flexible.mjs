// rate-limiter-flexible on bare node:http: a fixed window for each client, which its first request
// begins and a timer ends.
import { RateLimiterMemory } from 'rate-limiter-flexible'
import { accepted, calls, listen, rejected, seconds, stats } from './launch.mjs'

const limiter = new RateLimiterMemory({ points: calls, duration: seconds })

listen(async (req, res) => {
  if (req.url === '/_stats') return answer(res, 200, stats)
  try {
    const { remainingPoints } = await limiter.consume(req.socket.remoteAddress)
    accepted(remainingPoints)
    answer(res, 200, { id: req.url.split('/').at(-1) })
  } catch (refusal) {
    if (refusal instanceof Error) throw refusal
    rejected()
    res.setHeader('Retry-After', Math.ceil(refusal.msBeforeNext / 1000))
    answer(res, 429, { error: 'too many requests' })
  }
})

function answer(res, status, body) {
  res.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body))
}

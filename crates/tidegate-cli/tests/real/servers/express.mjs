// express-rate-limit: a fixed window for each client, which its first request begins.
import express from 'express'
import { rateLimit } from 'express-rate-limit'
import { accepted, calls, draft, listen, rejected, seconds, stats } from './launch.mjs'

const limiter = rateLimit({
  limit: calls,
  windowMs: seconds * 1000,
  standardHeaders: draft ?? false,
  legacyHeaders: draft === undefined,
  handler: (_, res) => {
    rejected()
    res.status(429).json({ error: 'too many requests' })
  },
})

const app = express()
app.get('/_stats', (_, res) => res.json(stats))
app.get('/v1/users/:id', limiter, (req, res) => {
  accepted(req.rateLimit.remaining)
  res.json({ id: req.params.id })
})
listen(app)

// What the servers on Node share: the limit from the command line (calls, seconds, and which draft of
// the IETF's headers), the counts, and an end when the parent's does.
import { createServer } from 'node:http'

export const [calls, seconds] = process.argv.slice(2, 4).map(Number)
export const draft = process.argv[4]
export const stats = { accepted: 0, rejected: 0, least_remaining: calls }

/** The limiter let a call through, and says what it would still let through. */
export function accepted(remaining) {
  stats.accepted += 1
  stats.least_remaining = Math.min(stats.least_remaining, remaining)
}

export function rejected() {
  stats.rejected += 1
}

export function listen(handler) {
  const server = createServer(handler)
  server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`))
  process.stdin.on('end', () => process.exit()).resume()
}

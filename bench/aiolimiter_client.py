"""The script most people would write for a limit: aiolimiter before aiohttp, and Retry-After obeyed.

Usage: aiolimiter_client.py IDS OUT BASE_URL RATE_PER_SECOND [WORKERS]
"""

import asyncio
import json
import sys

import aiohttp
from aiolimiter import AsyncLimiter


async def main(ids, out, base, rate, workers=500):
    limiter = AsyncLimiter(rate, 1)
    queue = asyncio.Queue(maxsize=2 * workers)
    with open(ids) as lines, open(out, "w") as results:
        connector = aiohttp.TCPConnector(limit=workers)
        async with aiohttp.ClientSession(connector=connector) as session:
            tasks = [
                asyncio.create_task(work(session, base, limiter, queue, results)) for _ in range(workers)
            ]
            for line in lines:
                await queue.put(line.strip())
            for _ in tasks:
                await queue.put(None)
            await asyncio.gather(*tasks)


async def work(session, base, limiter, queue, results):
    while (user := await queue.get()) is not None:
        while True:
            async with limiter, session.get(f"{base}/v1/users/{user}") as response:
                if response.status == 429:
                    pause = float(response.headers.get("Retry-After", 1))
                else:
                    body = await response.json()
                    break
            await asyncio.sleep(pause)
        results.write(json.dumps({"id": user, "status": response.status, "body": body}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], *map(int, sys.argv[4:])))

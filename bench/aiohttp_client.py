"""The script most people would write: a queue, some workers, one session, results as JSONL.

Usage: aiohttp_client.py IDS OUT BASE_URL [CONNECTIONS]
"""

import asyncio
import json
import sys

import aiohttp


async def main(ids, out, base, connections=64):
    queue = asyncio.Queue(maxsize=2 * connections)
    with open(ids) as lines, open(out, "w") as results:
        connector = aiohttp.TCPConnector(limit=connections)
        async with aiohttp.ClientSession(connector=connector) as session:
            workers = [asyncio.create_task(work(session, base, queue, results)) for _ in range(connections)]
            for line in lines:
                await queue.put(line.strip())
            for _ in workers:
                await queue.put(None)
            await asyncio.gather(*workers)


async def work(session, base, queue, results):
    while (user := await queue.get()) is not None:
        async with session.get(f"{base}/v1/users/{user}") as response:
            body = await response.json()
            results.write(json.dumps({"id": user, "status": response.status, "body": body}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], *map(int, sys.argv[4:])))

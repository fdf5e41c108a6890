"""Flask-Limiter behind waitress: a window that moves, to the microsecond, for each client."""

import logging
import os
import sys
import threading

import waitress
from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

calls, seconds = map(int, sys.argv[1:])
stats = {"accepted": 0, "rejected": 0, "least_remaining": calls}
lock = threading.Lock()

app = Flask(__name__)
limiter = Limiter(
    get_remote_address,
    app=app,
    storage_uri="memory://",
    strategy="moving-window",
    default_limits=[f"{calls} per {seconds} second"],
    headers_enabled=True,
)


@app.get("/_stats")
@limiter.exempt
def counts():
    return stats


@app.get("/v1/users/<user>")
def user(user):
    remaining = limiter.current_limit.remaining
    with lock:
        stats["accepted"] += 1
        stats["least_remaining"] = min(stats["least_remaining"], remaining)
    return {"id": user}


@app.errorhandler(429)
def rejected(_):
    with lock:
        stats["rejected"] += 1
    return {"error": "too many requests"}, 429


def end_with_parent():
    sys.stdin.read()
    os._exit(0)


# It warns of every request that waits for a thread.
logging.getLogger("waitress.queue").setLevel(logging.ERROR)

threading.Thread(target=end_with_parent, daemon=True).start()
server = waitress.create_server(app, host="127.0.0.1", port=0, threads=8, connection_limit=1_000)
print(f"http://127.0.0.1:{server.effective_port}", flush=True)
server.run()

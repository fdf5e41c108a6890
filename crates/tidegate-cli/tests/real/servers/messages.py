"""Messages as Anthropic streams them, each event made by the types of its own package."""

import logging
import os
import sys
import threading

import waitress
from anthropic import types
from flask import Flask, Response, request

app = Flask(__name__)
lock = threading.Lock()
stats = {"accepted": 0, "tokens": 0}


@app.get("/_stats")
def say():
    with lock:
        return dict(stats)


@app.post("/v1/messages")
def answer():
    assert request.headers["anthropic-version"] and request.headers["x-api-key"] == "sk-secret"
    asked = request.get_json()
    words = ["ebb", "flow"] * (asked["max_tokens"] // 4)
    tokens = {"input_tokens": len(str(asked["messages"])) // 8, "output_tokens": len(words)}
    with lock:
        stats["accepted"] += 1
        stats["tokens"] += sum(tokens.values())
    return Response(stream(asked["model"], words, tokens), content_type="text/event-stream; charset=utf-8")


def stream(model, words, tokens):
    usage = types.Usage(**{**tokens, "output_tokens": 1})
    message = types.Message(
        id="msg_1", type="message", role="assistant", model=model, content=[], usage=usage
    )
    yield event(types.RawMessageStartEvent(type="message_start", message=message))
    block = types.TextBlock(type="text", text="")
    yield event(types.RawContentBlockStartEvent(type="content_block_start", index=0, content_block=block))
    yield "event: ping\ndata: {\"type\": \"ping\"}\n\n"
    for word in words:
        delta = types.TextDelta(type="text_delta", text=word + " ")
        yield event(types.RawContentBlockDeltaEvent(type="content_block_delta", index=0, delta=delta))
    yield event(types.RawContentBlockStopEvent(type="content_block_stop", index=0))
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": tokens["output_tokens"]}}
    yield event(types.RawMessageDeltaEvent.model_validate(end))
    yield event(types.RawMessageStopEvent(type="message_stop"))


def event(made):
    return f"event: {made.type}\ndata: {made.to_json(indent=None)}\n\n"


def end_with_parent():
    sys.stdin.read()
    os._exit(0)


# It warns of every request that waits for a thread.
logging.getLogger("waitress.queue").setLevel(logging.ERROR)

threading.Thread(target=end_with_parent, daemon=True).start()
server = waitress.create_server(app, host="127.0.0.1", port=0, threads=8, connection_limit=1_000)
print(f"http://127.0.0.1:{server.effective_port}", flush=True)
server.run()

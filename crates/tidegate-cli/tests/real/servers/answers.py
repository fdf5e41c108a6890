"""Reads what a run wrote by the types of the providers' own packages.

    answers.py batch|jsonl FILE…

Says how many answers there are, and how many tokens they took, as JSON.
"""

import json
import sys

from anthropic.types import Message
from openai.types.chat import ChatCompletion


def main():
    shape, files = sys.argv[1], sys.argv[2:]
    said = {"answers": 0, "tokens": 0}
    for file in files:
        with open(file, encoding="utf-8") as lines:
            for line in lines:
                said["answers"] += 1
                said["tokens"] += tokens(answer(json.loads(line), shape))
    print(json.dumps(said))


def answer(line, shape):
    """The body of a line's answer."""
    if shape != "batch":
        return line["body"]
    assert set(line) == {"id", "custom_id", "response", "error"}, line
    assert isinstance(line["id"], str) and isinstance(line["custom_id"], str), line
    assert line["error"] is None and line["response"]["status_code"] == 200, line
    return line["response"]["body"]


def tokens(body):
    """Those of an answer that is exactly what its provider's package takes for one."""
    if body.get("type") == "message":
        usage = Message.model_validate(body, strict=True).usage
        return usage.input_tokens + usage.output_tokens
    assert body["object"] == "chat.completion", body
    completion = ChatCompletion.model_validate(body, strict=True)
    assert all(choice.message.role == "assistant" for choice in completion.choices)
    return completion.usage.total_tokens


main()

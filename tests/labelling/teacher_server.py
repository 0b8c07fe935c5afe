"""A teacher endpoint on loopback that misbehaves like a provider, and keeps the bill.

Run as a program it prints its port and serves until it is killed. `POST /v1/chat/completions`
answers, or fails first in ways that the settings choose; `GET /stats` tells what happened.
"""

import asyncio
import hashlib
import json
import random
import sys
from collections import Counter

FAULTS = {
    "429": 3,
    "429-after": 0.15,
    "429-short": 2,
    "500": 3,
    "503-after": 1,
    "drop": 2,
    "cut": 1,
    "hang": 0.5,
    "empty": 2,
    "both": 2,
    "malformed": 2,
    "html": 1,
    "no-choices": 1,
}
STYLES = ("json", "fenced", "prose", "bare", "thinking", "shouted")


def question_of(messages):
    """The question as first asked, whatever was added to it the second time."""
    return messages[-1]["content"].split("\n\nYour last answer")[0]


def true_label(model, question):
    """The label that the server's model really means, by a hash: teachers mostly agree."""
    common = hashlib.sha256(question.encode()).digest()[0] % 2
    own = hashlib.sha256(f"{model} {question}".encode()).digest()[0]
    return "system2" if (common if own < 200 else own % 2) else "system1"


def words_for(label, style):
    number = label[-1]
    return {
        "json": json.dumps({"reason": "so it is", "label": f"System{number}"}),
        "fenced": f'Sure.\n```json\n{{"reason": "so", "label": "System{number}"}}\n```',
        "prose": f"It is System{number} because of how one gets to the answer.",
        "bare": f"System {number}",
        "thinking": f"<think>System 1? Or System 2? Hm.</think>\n**System {number}**",
        "shouted": f"SYSTEM_{number}.",
    }[style]


class Server:
    def __init__(self, settings):
        self.fault_share = settings.get("fault_share", 0.0)
        self.faults = settings.get("faults", FAULTS)
        self.delay = settings.get("delay", 0.0)
        self.dead_after = settings.get("dead_after", {})
        self.refuse = settings.get("refuse", [])
        self.key = settings.get("key")
        self.echo_key = settings.get("echo_key", False)
        self.refuses_after = settings.get("refuses_after", {})
        self.refuses_with = settings.get("refuses_with", 400)
        self.later = settings.get("later")
        self.knows_no_system = settings.get("knows_no_system", False)
        self.capacity = settings.get("capacity", 10**9)
        self.always = settings.get("always")
        self.tokens_needed = settings.get("tokens_needed", {})
        self.usage = settings.get("usage", {"prompt_tokens": 100, "completion_tokens": 10})
        self.knows_no_schema = settings.get("knows_no_schema", False)
        self.failed = set()
        self.billed = Counter()
        self.requests = Counter()
        self.in_flight = 0
        self.most_flying = 0
        self.headers = {}

    async def serve(self, reader, writer):
        try:
            while (line := await reader.readline()).strip():
                headers = {}
                while header := (await reader.readline()).strip():
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if line.startswith(b"GET"):
                    await self.reply(writer, 200, self.stats())
                    continue
                self.in_flight += 1
                self.most_flying = max(self.most_flying, self.in_flight)
                try:
                    if not await self.answer(writer, headers, json.loads(body)):
                        break
                finally:
                    self.in_flight -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def stats(self):
        return {
            "billed": {f"{model}\n{question}": n for (model, question), n in self.billed.items()},
            "requests": dict(self.requests),
            "most_flying": self.most_flying,
            "headers": self.headers,
        }

    async def reply(self, writer, status, content, headers=(), kind="application/json"):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        head = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(body)}"]
        writer.write("\r\n".join([*head, *headers, "", ""]).encode() + body)
        await writer.drain()
        return True

    async def error(self, writer, status, message, headers=()):
        return await self.reply(writer, status, {"error": {"message": message}}, headers)

    async def answer(self, writer, headers, request):
        model, messages = request["model"], request["messages"]
        question = question_of(messages)
        self.requests[model] += 1
        self.headers = headers
        if self.key and headers.get("authorization") != f"Bearer {self.key}":
            return await self.error(writer, 401, f"bad key {headers.get('authorization')}")
        if self.requests[model] > self.dead_after.get(model, 10**9):
            return await self.error(writer, 500, "gone")
        if self.in_flight > self.capacity:
            return await self.error(writer, 429, "too many at a time")
        if self.requests[model] > self.refuses_after.get(model, 10**9):
            headers = [f"retry-after: {self.later}"] if self.later else []
            return await self.error(writer, self.refuses_with, "limit reached", headers)
        if self.knows_no_system and messages[0]["role"] == "system":
            return await self.error(writer, 400, "System role not supported")
        if any(word in question for word in self.refuse):
            return await self.error(writer, 400, f"too long for {headers.get('authorization')}")
        if self.knows_no_schema and "response_format" in request:
            return await self.error(writer, 400, "Unknown parameter: response_format")
        if self.delay:
            await asyncio.sleep(self.delay)
        chance = random.Random(f"{model} {question}")
        if (model, question) not in self.failed and chance.random() < self.fault_share:
            self.failed.add((model, question))
            (fault,) = chance.choices(list(self.faults), list(self.faults.values()))
            return await self.fail(writer, fault)
        self.billed[model, question] += 1
        label = true_label(model, question)
        text = words_for(label, chance.choice(STYLES))
        text = self.always or text
        if request.get("max_tokens", 0) < self.tokens_needed.get(model, 0):
            thought = "System 2 questions need several steps, and this one"
            return await self.reply(writer, 200, self.completion(thought, "length"))
        if self.echo_key:
            text += f" (you are {self.key})"
        return await self.reply(writer, 200, self.completion(text))

    def completion(self, text, finish_reason="stop"):
        message = {"role": "assistant", "content": text}
        return {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
            "usage": self.usage,
        }

    async def fail(self, writer, fault):
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "drop":
            return False
        if fault == "cut":
            writer.write(b'HTTP/1.1 200 X\r\ncontent-length: 500\r\n\r\n{"id": ')
            await writer.drain()
            return False
        if fault == "empty":
            return await self.reply(writer, 200, self.completion(""))
        if fault == "both":
            return await self.reply(writer, 200, self.completion("System 1 or System 2."))
        if fault == "malformed":
            return await self.reply(writer, 200, b'{"choices": [{"mess')
        if fault == "html":
            return await self.reply(writer, 200, b"<html>busy</html>", kind="text/html")
        if fault == "no-choices":
            return await self.reply(writer, 200, {"id": "c", "choices": []})
        status, _, after = fault.partition("-")
        seconds = {"after": "150", "short": "1.5"}.get(after)
        headers = [f"retry-after: {seconds}"] if seconds else []
        return await self.error(writer, int(status), "later", headers)


async def main(settings):
    server = await asyncio.start_server(Server(settings).serve, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1] if len(sys.argv) > 1 else "{}")))

"""A provider on loopback that repeats the key it was given, in every place and form there is."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from urllib.parse import quote

FORMS: dict[str, Callable[[str], str]] = {
    "whole": lambda key: key,
    "as a header": lambda key: f"Authorization: Bearer {key}",
    "masked by dots": lambda key: f"{key[:5]}...{key[-2:]}",
    "masked by stars": lambda key: f"{key[:8]}{'*' * 24}{key[-4:]}",
    "first half": lambda key: key[: len(key) // 2],
    "last half": lambda key: key[len(key) // 2 :],
    "in quotes": lambda key: f"'{key}'",
    "in two pieces": lambda key: f"{key[:10]} {key[10:]}",
    "percent-encoded": lambda key: quote(f"Bearer {key}", safe=""),
    "in base64": lambda key: base64.b64encode(f"user:{key}".encode()).decode(),
    "upper case": str.upper,
}
# What the provider answers, given the words that repeat the key.
PLACES: dict[str, tuple[int, Callable[[str], dict | str]]] = {
    "answer": (200, lambda said: completion(f"System 2. You are {said}")),
    "answer without a label": (200, lambda said: completion(f"You are {said}")),
    "refusal": (200, lambda said: {"choices": [{"message": {"refusal": f"no, {said}"}}]}),
    "model of an answer": (200, lambda said: completion("System 1") | {"model": said}),
    "400": (400, lambda said: {"error": {"message": f"Incorrect request by {said}"}}),
    "401": (401, lambda said: {"error": {"message": f"Incorrect API key provided: {said}."}}),
    "401, code": (401, lambda said: {"error": {"message": "no", "code": said, "type": said}}),
    "401, text": (401, lambda said: f"no such key: {said}"),
    "401, list": (401, lambda said: {"error": [said]}),
    "402": (402, lambda said: {"error": {"message": f"no credit for {said}"}}),
    "403": (403, lambda said: {"error": {"message": f"{said} may not"}}),
    "404": (404, lambda said: {"error": {"message": f"no model for {said}"}}),
    "422": (422, lambda said: {"detail": [{"msg": said, "input": said}]}),
    "429, out of credit": (
        429,
        lambda said: {"error": {"code": "insufficient_quota", "message": f"pay, {said}"}},
    ),
    "500": (500, lambda said: {"error": {"message": f"crashed at {said}"}}),
}


def completion(text: str) -> dict:
    """Returns the body of an answer with this text."""
    message = {"role": "assistant", "content": text}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


@contextmanager
def provider(answer: Callable[[str], tuple[int, dict | str, str]]) -> Iterator[int]:
    """Yields the port of an endpoint on loopback.

    Args:
        answer: Given the key of a request, returns status, body, and what stands in the reason and
            in some headers; these are cut at the first character that a header cannot hold.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            given = self.headers.get("authorization", "").removeprefix("Bearer ")
            if given.startswith("Basic "):
                given = base64.b64decode(given[6:]).decode().partition(":")[2]
            status, body, head = answer(given)
            content = (body if isinstance(body, str) else json.dumps(body)).encode()
            head = "".join(takewhile(lambda letter: " " <= letter <= "~", head))
            self.send_response(status, head)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.send_header("www-authenticate", head)
            self.send_header("x-request-id", head)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def echo_server(place: str, form: str) -> Iterator[tuple[int, list[str]]]:
    """Yields a port and the keys that were sent to it.

    It repeats them in the headers, in the reason and in the body.
    """
    status, body = PLACES[place]
    seen: list[str] = []

    def answer(key: str) -> tuple[int, dict | str, str]:
        seen.append(key)
        said = FORMS[form](key)
        return status, body(said), said

    with provider(answer) as port:
        yield port, seen

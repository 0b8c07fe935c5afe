"""An endpoint on loopback that answers by a function of the test."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Scripted:
    """Where it listens, and the requests so far: path, headers and body of each."""

    def __init__(self, port):
        self.root = f"http://127.0.0.1:{port}"
        self.url = f"{self.root}/v1"
        self.requests = []

    def teacher(self, name="a", url=None, model=None):
        return f"{name}={model or f'model-{name}'}@{url or self.url}"

    def formats(self):
        """The kind of structured output of each request, None where none was asked for."""
        return [body.get("response_format", {}).get("type") for _, _, body in self.requests]


def completion(text="System 2", finish="stop", **message):
    """What an endpoint answers."""
    return {
        "object": "chat.completion",
        "choices": [{"message": {"content": text} | message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 4},
    }


@contextmanager
def scripted_server(answer):
    """Yields a server.

    Args:
        answer: Given the request's body, or body, path and headers, returns a body (JSON, text or
            bytes), or status and body, or status, body and headers.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.requests.append((self.path, headers, body))
            said = answer(body) if answer.__code__.co_argcount == 1 else answer(*self.given(body))
            status, content, *headers = said if isinstance(said, tuple) else (200, said)
            if not isinstance(content, bytes):
                text = content if isinstance(content, str) else json.dumps(content)
                content = text.encode()
            self.send_response(status)
            for name, value in (headers[0] if headers else {}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def given(self, body):
            return body, self.path, self.headers

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Scripted(http.server_address[1])
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()

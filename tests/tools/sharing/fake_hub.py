"""A Hugging Face Hub on loopback that knows as much of the protocol as an upload needs."""

import base64
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_FaKeToKeNfOrTeStSoNlY0123456789"


@dataclass
class FakeHub:
    """Repositories, and what was asked.

    Attributes:
        repos: Name -> whether it is private, and its files.
        requests: Method and path of each request, in order.
        refuse: Status with which every change is refused; None for none.
    """

    url: str = ""
    repos: dict[str, tuple[bool, dict[str, bytes]]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    refuse: int | None = None


@contextmanager
def running_hub():
    """Yields a hub that accepts `TOKEN` while the block runs."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            self._answer(b"")

        def do_POST(self):
            self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def _answer(self, body):
            hub.requests.append(f"{self.command} {self.path}")
            status, content = _reply(hub, self.command, self.path, self.headers, body)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _reply(hub, method, path, headers, body):
    """Returns status and content of the answer to a request."""
    if headers.get("Authorization") != f"Bearer {TOKEN}":
        given = headers.get("Authorization")
        return 401, {"error": f"Invalid credentials in Authorization header: {given}"}
    path = path.partition("?")[0]
    if method == "POST" and hub.refuse is not None:
        return hub.refuse, {"error": f"refused, whatever {TOKEN} may do"}
    if path == "/api/repos/create":
        asked = json.loads(body)
        name = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
        hub.repos[name] = (bool(asked.get("private")) or asked.get("visibility") == "private", {})
        return 200, {"url": f"{hub.url}/{name}", "name": name, "id": name}
    if path == "/api/validate-yaml":
        return 200, {"errors": [], "warnings": []}
    found = re.match(r"/api/models/([\w.-]+/[\w.-]+)(.*)", path)
    if found is None:
        return 500, {"error": f"no such request: {path}"}
    name, rest = found.groups()
    if name not in hub.repos:
        return 404, {"error": "Repository not found"}
    private, files = hub.repos[name]
    if rest.startswith("/preupload/"):
        wanted = json.loads(body)["files"]
        modes = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
        return 200, {"files": [{"path": each["path"], **modes} for each in wanted]}
    if rest.startswith("/commit/"):
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                files[line["value"]["path"]] = content
        commit = {"commitUrl": f"{hub.url}/{name}/commit/1", "commitOid": "1" * 40}
        return 200, {**commit, "hookOutput": "", "pullRequestUrl": None}
    siblings = [{"rfilename": each} for each in files]
    info = {"_id": "1", "id": name, "modelId": name, "private": private, "sha": "1" * 40}
    return 200, info | {"siblings": siblings, "tags": [], "downloads": 0, "likes": 0}

"""A server with vLLM's interface that generates with transformers: the base model and adapters.

It listens on loopback and answers what the trainer and its rollouts ask: readiness, settings, pause
and resume, adapters loaded and unloaded by path, completions of token ids with log-probabilities.
"""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

LORA = {"max_lora_rank": 16, "max_loras": 8}


class LocalServer:
    """What the server holds and what was asked of it.

    Attributes:
        settings: Told by `/server_info`.
        loaded: Adapter names in the order in which they came; `held` are those still there.
        requests: Bodies of the requests for completions.
        written: Prompt and tokens of each completion.
        broken: Fields left out of answers, or `refuse` for an error.
    """

    def __init__(self, model_dir, eos, **settings):
        self.model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
        self.peft, self.eos = None, eos
        self.settings = {
            "lora_config": LORA,
            "parallel_config": {"data_parallel_size": 1},
            "model_config": {"dtype": "torch.float32", "logprobs_mode": "processed_logprobs"},
        } | settings
        self.loaded, self.held, self.requests, self.written = [], set(), [], []
        self.paused, self.broken = False, None
        self.lock = threading.Lock()

    def load(self, name, path):
        with self.lock:
            if self.peft is None:
                self.peft = PeftModel.from_pretrained(self.model, path, adapter_name=name).eval()
            else:
                self.peft.load_adapter(path, adapter_name=name)
            self.loaded.append(name)
            self.held.add(name)

    def unload(self, name):
        with self.lock:
            self.peft.delete_adapter(name)
            self.held.discard(name)

    @torch.no_grad()
    def complete(self, body):
        with self.lock:
            self.requests.append(body)
            if body["model"] not in self.held:
                return 404, {"error": f"no model {body['model']}"}
            self.peft.set_adapter(body["model"])
            generator = torch.Generator().manual_seed(body["seed"])
            rows = torch.tensor([body["prompt"]] * body["n"])
            written = [([], []) for _ in range(body["n"])]
            for _ in range(body["max_tokens"]):
                logits = self.peft(input_ids=rows).logits[:, -1] / body["temperature"]
                logprobs = logits.log_softmax(-1)
                chosen = torch.multinomial(logprobs.exp(), 1, generator=generator)
                rows = torch.cat([rows, chosen], 1)
                for row, (tokens, values) in enumerate(written):
                    if self.eos not in tokens:
                        tokens.append(int(chosen[row]))
                        values.append(float(logprobs[row, chosen[row]]))
            self.written += [(body["prompt"], tokens) for tokens, _ in written]
            return 200, {"choices": [self._choice(*one) for one in written]}

    def _choice(self, tokens, values):
        choice = {
            "token_ids": tokens,
            "logprobs": {"token_logprobs": values},
            "finish_reason": "stop" if self.eos in tokens else "length",
        }
        return {name: value for name, value in choice.items() if name != self.broken}


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def log_message(self, *_):
        """Is quiet."""

    def do_GET(self):
        path, told = self.path.partition("?")[0], self.server.local
        replies = {"/health": {}, "/server_info": {"vllm_config": told.settings}}
        self._reply(200 if path in replies else 404, replies.get(path, {}))

    def do_POST(self):
        path, local = self.path.partition("?")[0], self.server.local
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}")
        status, answer = 200, {}
        if path == "/v1/completions":
            status, answer = local.complete(body)
            if local.broken == "refuse":
                status, answer = 400, {"error": "prompt is too long"}
        elif path == "/v1/load_lora_adapter":
            local.load(body["lora_name"], body["lora_path"])
        elif path == "/v1/unload_lora_adapter":
            local.unload(body["lora_name"])
        elif path in ("/pause", "/resume"):
            local.paused = path == "/pause"
        else:
            status = 404
        self._reply(status, answer)

    def _reply(self, status, answer):
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    local: LocalServer


@contextmanager
def serving(local):
    """Serves on a free port of loopback while open; yields the address."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.local = local
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

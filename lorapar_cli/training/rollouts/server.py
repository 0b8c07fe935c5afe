"""The server of asynchronous rollouts, as vLLM's HTTP interface has it: what it must be able to do."""

import time
from dataclasses import dataclass
from typing import Any

import httpx2

from lorapar_cli.errors import LoraparError
from lorapar_cli.plurals import counted

LAUNCH = (
    "VLLM_SERVER_DEV_MODE=1 VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve MODEL --enable-lora "
    "--max-lora-rank {rank} --max-loras {versions} --logprobs-mode processed_logprobs"
)
"""How a server is started that can be used; ranks are those that vLLM has buffers for."""
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_TRIES = 4
_PROBE_SECONDS = 10.0


@dataclass(frozen=True)
class Completion:
    """A completion as the server wrote it.

    Attributes:
        tokens: Ids, the end of sequence among them where it was reached.
        logprobs: Of each token, at the temperature that it was sampled at.
        cut_off: Whether the limit of tokens ended it.
    """

    tokens: list[int]
    logprobs: list[float]
    cut_off: bool


class RolloutServer:
    """A server that holds the base model and takes adapters by the path of their folder.

    Args:
        url: Address without the path, such as `http://localhost:8000`.
        timeout: Seconds that one request may take.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.url = url.rstrip("/")
        self._client = httpx2.Client(base_url=self.url, timeout=timeout)

    def close(self) -> None:
        """Closes all connections."""
        self._client.close()

    def require(self, rank: int, versions: int) -> None:
        """Checks that the server can be given adapters one after another.

        Args:
            rank: Of the adapters.
            versions: Number of them that it must hold at once.

        Raises:
            LoraparError: It does not answer, or was started without what this takes.
        """
        launch = LAUNCH.format(rank=next((r for r in _RANKS if r >= rank), rank), versions=versions)
        hint = (
            f"start it so: `{launch}`; name its address with `--training vllm_server_base_url=URL`"
        )
        try:
            reply = self._client.get(
                "/server_info", params={"config_format": "json"}, timeout=_PROBE_SECONDS
            )
            reply.raise_for_status()
            told = reply.json()["vllm_config"]
            lora = told["lora_config"]
            copies = told["parallel_config"]["data_parallel_size"]
        except (httpx2.HTTPError, ValueError, KeyError, TypeError) as cause:
            raise LoraparError(
                f"there is no server for `--vllm async` at `{self.url}`",
                f"`GET /server_info`: {type(cause).__name__}: {cause}",
                hint,
            ) from cause
        lacking = None
        if lora is None:
            lacking = "it was started without `--enable-lora`, and whole base models are never sent"
        elif lora["max_lora_rank"] < rank:
            lacking = f"it takes adapters of rank {lora['max_lora_rank']}, this one has {rank}"
        elif lora["max_loras"] < versions:
            lacking = (
                f"it holds {counted(lora['max_loras'], 'adapter')} at once, {versions} are needed"
            )
        elif copies > 1:
            lacking = f"it has {counted(copies, 'replica')}, of which an adapter reaches one"
        elif told.get("model_config", {}).get("logprobs_mode", "") == "raw_logprobs":
            lacking = "its log-probabilities are those before the temperature"
        if lacking is not None:
            raise LoraparError(
                f"the server at `{self.url}` cannot be used by `--vllm async`", lacking, hint
            )

    def complete(self, request: dict[str, Any]) -> list[Completion]:
        """Returns the completions of one prompt.

        Args:
            request: Of `/v1/completions`: `model`, `prompt` as token ids, `n` and how to sample.

        Raises:
            LoraparError: The server refuses, stays away, or tells no tokens or log-probabilities.
        """
        told = self._post("/v1/completions", request | {"return_token_ids": True, "logprobs": 0})
        try:
            found = [
                Completion(
                    [int(token) for token in choice["token_ids"]],
                    [float(value) for value in choice["logprobs"]["token_logprobs"]],
                    choice["finish_reason"] == "length",
                )
                for choice in told["choices"]
            ]
        except (KeyError, TypeError, ValueError) as cause:
            raise LoraparError(
                f"the server at `{self.url}` does not tell tokens and their log-probabilities",
                f"{type(cause).__name__}: {cause}",
                "use vLLM 0.22 or later",
            ) from cause
        if len(found) != request["n"] or any(
            not one.tokens or len(one.tokens) != len(one.logprobs) for one in found
        ):
            raise LoraparError(
                f"the server at `{self.url}` does not write what it is asked for",
                f"{counted(len(found), 'completion')} for {request['n']}, of "
                f"{[len(one.tokens) for one in found]} tokens with "
                f"{[len(one.logprobs) for one in found]} log-probabilities",
            )
        return found

    def _post(self, path: str, content: dict[str, Any]) -> Any:
        for attempt in range(_TRIES):
            try:
                reply = self._client.post(path, json=content)
                break
            except httpx2.TransportError as cause:
                if attempt + 1 == _TRIES:
                    raise LoraparError(
                        f"the server at `{self.url}` does not answer",
                        f"{type(cause).__name__}: {cause}, {_TRIES} times",
                        "start it again; the same command resumes from the last checkpoint",
                    ) from cause
                time.sleep(2**attempt)
        if reply.status_code != 200:
            raise LoraparError(
                f"the server at `{self.url}` refuses to write completions",
                f"status {reply.status_code}: {reply.text[:300]}",
                "the server's own output says why; when it runs again, the same command resumes from "
                "the last checkpoint",
            )
        return reply.json()

"""vLLM itself, on a GPU or in its build for the CPU: the three ways in which lorapar uses it that need no NCCL.

Run in an environment that has vLLM, see "Extras" in docs/guides/install.md:

    python -m pytest -m slow tests/test_with_vllm.py
"""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx2
import pytest

from lorapar_cli.embedded import MODEL_DIR, TEST_SET
from lorapar_cli.embedded.corpus import training_records
from lorapar_cli.training.rollouts.server import LAUNCH
from tests.labelling.classify_parts import write_rows
from tests.ports import free_port

pytestmark = [pytest.mark.extra("vllm"), pytest.mark.slow]
# On the CPU, vLLM would bind threads to cores and take 40 % of the memory.
ENVIRONMENT = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}
RL = [
    *("--max-steps", "2", "--per-device-batch-size", "32", "--gradient-accumulation", "1"),
    *("--num-generations", "8", "--max-completion-length", "48", "--no-forgetting"),
    *("--rewards", "answer=1,format=0.1", "--learning-rate", "1e-3"),
]


def lorapar(*arguments):
    command = [sys.executable, "-m", "lorapar_cli", *map(str, arguments)]
    subprocess.run(command, check=True, env=os.environ | ENVIRONMENT)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the embedded model up to SFT."""
    root = tmp_path_factory.mktemp("vllm")
    data = write_rows(root / "data.jsonl", training_records(per_system=200))
    run = root / "run"
    rules = "rules-operations,rules-cues,rules-shape"
    lorapar("classify", data, "--teachers", rules, "--model", "embedded", "--run-dir", run)
    lorapar("score", "--samples", "20", "--run-dir", run)
    lorapar("partition", "--run-dir", run)
    lorapar("train-sft", "--max-steps", "5", "--learning-rate", "1e-2", "--run-dir", run)
    return run


def samples(run, name):
    lines = (run / "eval" / name / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_greedy_completions_of_base_and_adapter_are_those_of_transformers(run):
    chosen = ["--data", TEST_SET, "--limit", "40", "--dtype", "float32", "--run-dir", run]
    lorapar("eval", *chosen, "--backend", "vllm", "--name", "vllm")
    lorapar("eval", *chosen, "--name", "transformers")
    found = samples(run, "vllm")
    assert {each["model"] for each in found} == {"base", "sft"}
    assert found == samples(run, "transformers")
    texts = {each["model"]: [] for each in found}
    for each in found:
        texts[each["model"]].append(each["completion"])
    assert texts["base"] != texts["sft"]


def trained(run, out, *options):
    lorapar("train-rl", *RL, *options, "--out", out, "--run-dir", run)
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


def test_grpo_with_vllm_in_the_process(run, tmp_path):
    small = ["vllm_gpu_memory_utilization=0.1", "vllm_max_model_length=256"]
    given = [part for each in small for part in ("--training", each)]
    manifest = trained(run, tmp_path / "out", "--vllm", "colocate", *given)
    assert manifest["counts"]["active_moved"] > 0
    assert manifest["counts"]["frozen_moved"] == 0


@contextmanager
def serving(log):
    """Starts the server that `--vllm async` asks for; yields its address."""
    port = free_port()
    assignments, _, command = LAUNCH.format(rank=8, versions=6).partition(" vllm ")
    words = ["vllm", *command.replace("MODEL", str(MODEL_DIR)).split(), "--port", port]
    own = dict(each.split("=") for each in assignments.split())
    url = f"http://127.0.0.1:{port}"
    # The script beside this interpreter, which may be of another environment than PATH's.
    words[0] = os.path.join(os.path.dirname(sys.executable), words[0])
    with (
        log.open("w") as output,
        subprocess.Popen(
            [*words, "--dtype", "float32"],
            stdout=output,
            stderr=output,
            env=os.environ | ENVIRONMENT | own,
        ) as server,
    ):
        try:
            for _ in range(600):
                assert server.poll() is None, log.read_text()[-2000:]
                try:
                    httpx2.get(f"{url}/v1/models", timeout=5).raise_for_status()
                    break
                except httpx2.HTTPError:
                    time.sleep(1)
            yield url
        finally:
            server.terminate()


def test_asynchronous_grpo_with_a_server_of_vllm(run, tmp_path):
    with serving(tmp_path / "server.log") as url:
        address = f"vllm_server_base_url={url}"
        manifest = trained(run, tmp_path / "out", "--vllm", "async", "--training", address)
    assert manifest["counts"]["active_moved"] > 0
    assert manifest["counts"]["frozen_moved"] == 0
    lines = (tmp_path / "out" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    first = next(each for each in map(json.loads, lines) if "kl" in each)
    # The server's probabilities are the trainer's: the first step learns from its own policy.
    assert first["kl"] == pytest.approx(0, abs=1e-4)

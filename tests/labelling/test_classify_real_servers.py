"""Classify against two real model servers: one supports schemas, one does not know them.

Their wheels (`xllamacpp` with `gguf`, `transformers[serving]`) come with the `dev` extra.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from tests.console_scripts import console_script
from tests.labelling.classify_parts import labels_of, read_lines, run_classify, write_questions
from tests.labelling.tiny_teachers import LLAMA_SERVER, build_model, write_gguf

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")
pytest.importorskip("uvicorn")


@pytest.fixture(scope="module")
def models(tmp_path_factory, tiny_model_dir):
    """Folders of two tiny models: one always answers System1, the other System2."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    folder = tmp_path_factory.mktemp("teachers")
    return {digit: build_model(folder / digit, digit, tokenizer) for digit in "12"}


@contextmanager
def process_of(command, **options):
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, text=True, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def llama_server(gguf):
    command = [sys.executable, "-c", LLAMA_SERVER, str(gguf)]
    with process_of(command, stdout=subprocess.PIPE) as process:
        address = process.stdout.readline().strip()
        assert address, "the llama.cpp server did not start"
        yield f"{address}/v1"


@contextmanager
def transformers_server(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*console_script("transformers"), "serve", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--device", "cpu"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    with process_of([*command, str(folder)], stdout=subprocess.DEVNULL, env=environment) as process:
        for _ in range(600):
            assert process.poll() is None, "transformers serve ended"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"


def test_a_server_that_supports_schemas_and_one_that_ignores_them(tmp_path, models):
    data = write_questions(tmp_path / "data.jsonl", 6)
    gguf = write_gguf(models["1"], tmp_path / "tiny.gguf")
    with llama_server(gguf) as strict, transformers_server(models["2"]) as free:
        teachers = [
            f"strict=tiny@{strict}",
            f"free={models['2']}@{free}",
            f"local=hf:{models['2']}",
        ]
        options = {"concurrency": 2, "timeout": 60, "holdout": 0.0}
        outcome = run_classify(tmp_path / "run", data, teachers, **options)
    words = {"strict": set(), "free": set(), "local": set()}
    for line in read_lines(outcome.folder / "votes.jsonl"):
        words[line["teacher"]].add("".join(line["text"].split()))
        assert line["prompt_tokens"] > 500
        assert line["completion_tokens"] > 0
    assert words == {
        "strict": {'{"reason":"","label":"System1"}'},
        "free": {"System2"},
        "local": {"System2"},
    }
    labels = labels_of(outcome.folder)
    assert len(labels) == 6
    assert set(labels.values()) == {"system2"}
    for line in read_lines(outcome.folder / "disagreements.jsonl"):
        assert line["votes"] == {"strict": "system1", "free": "system2", "local": "system2"}
        assert set(line["words"]) == set(words)

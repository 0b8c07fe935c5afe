"""What `doctor` finds on this machine, and on machines with something wrong."""

import json
from importlib import metadata
from pathlib import Path

import pytest

from lorapar_cli.cli.main import main
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.tools.doctor import State, doctor


def by_topic(run_dir):
    return {finding.topic: finding for finding in doctor(RunDir(Path(run_dir)))}


def test_every_requirement_is_looked_at_and_nothing_is_left_behind(tmp_path):
    found = by_topic(tmp_path / "not" / "yet" / "there")
    for package in ("torch", "transformers", "peft", "trl", "datasets", "safetensors", "typer"):
        assert found[package].state is State.OK
        assert found[package].found == metadata.version(package)
    assert {"extra quantize", "extra deepspeed", "extra vllm", "extra latex"} <= found.keys()
    assert "pytest" not in found
    assert found["run directory"].state is not State.PROBLEM
    assert list(tmp_path.iterdir()) == []


def test_versions_that_were_never_tested_and_missing_ones_are_problems(tmp_path, monkeypatch):
    real = metadata.version

    def pretend(name):
        if name == "trl":
            return "0.9.0"
        if name == "peft":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", pretend)
    found = by_topic(tmp_path)
    assert found["trl"].state is State.PROBLEM
    assert "0.9.0 is installed, " in found["trl"].found
    assert found["peft"].state is State.PROBLEM
    assert "pip install 'peft" in found["peft"].hint
    assert found["torch"].state is State.OK


def test_a_place_that_cannot_be_written_is_a_problem():
    assert by_topic("/proc/lorapar-run")["run directory"].state is State.PROBLEM


def test_keys_are_named_and_never_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-mine")
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_mine")
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json", "--run-dir", str(tmp_path)])
    assert ended.value.code == 0
    output = capsys.readouterr()
    assert "secret" not in output.out + output.err
    rows = {row["topic"]: row for row in json.loads(output.out)}
    assert "gpt4o" in rows["teachers"]["found"]
    assert "a token is set" in rows["model hub"]["found"]


def test_something_wrong_ends_with_exit_code_1(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--run-dir", "/proc/lorapar-run"])
    assert ended.value.code == 1
    output = capsys.readouterr()
    assert "run directory" in output.out
    assert output.err.startswith("error: 1 of ")


def test_hints_are_printed_as_they_are_to_be_typed(tmp_path, monkeypatch, capsys):
    def pretend(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", pretend)
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["doctor", "--run-dir", str(tmp_path)])
    assert "pip install 'lorapar[quantize]'" in capsys.readouterr().out

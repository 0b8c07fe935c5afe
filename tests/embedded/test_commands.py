"""`python -m lorapar_cli.embedded` and what importing the package costs."""

import json
import subprocess
import sys

import pytest

from lorapar_cli.embedded import TEST_SET
from lorapar_cli.embedded.__main__ import main


def test_corpus_and_test_set_are_written(tmp_path):
    assert main(["corpus", "--out", str(tmp_path), "--per-system", "5"]) == 0
    assert main(["test-set", "--out", str(tmp_path / "again.jsonl")]) == 0
    train = (tmp_path / "train.jsonl").read_text().splitlines()
    assert len(train) == 10
    assert set(json.loads(train[0])) == {"id", "question", "answer", "label", "steps"}
    assert (tmp_path / "again.jsonl").read_bytes() == TEST_SET.read_bytes()
    assert (tmp_path / "test.jsonl").read_bytes() == TEST_SET.read_bytes()


def test_model_refuses_a_folder_in_use(tmp_path, capsys):
    (tmp_path / "kept").write_text("x")
    assert main(["model", "--out", str(tmp_path)]) == 1
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["corpus", "model", "test-set"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "--out" in capsys.readouterr().out


def test_corpus_imports_no_torch():
    code = (
        "import sys, lorapar_cli.embedded, lorapar_cli.embedded.__main__ as m\n"
        "m.corpus.held_out_records()\n"
        "print(sorted({'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "[]"

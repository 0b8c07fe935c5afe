"""Standard input: read once, then as often as a stage needs, and nothing left on the disk."""

import gzip
import hashlib
import io
import json
import subprocess
import sys

import pyarrow
import pytest

from lorapar_cli.data import stdin
from lorapar_cli.data.readers import open_source
from lorapar_cli.errors import LoraparError, UsageError

ROWS = [{"question": f"{i}?", "answer": f"#### {i}"} for i in range(500)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.fixture
def pipe(monkeypatch):
    """Returns a function that puts bytes behind `-`."""

    def put(content: bytes):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return put


@pytest.mark.parametrize(
    "content",
    [
        LINES,
        json.dumps(ROWS).encode(),
        gzip.compress(LINES),
        pyarrow.compress(LINES, codec="zstd", asbytes=True),
    ],
    ids=["lines", "array", "gzip", "zstd"],
)
def test_records_come_through_a_pipe(pipe, content):
    pipe(content)
    source = open_source("-")
    for _ in range(2):
        assert [r.prompt for r in source.records()] == [row["question"] for row in ROWS]
    # Readings do not disturb one another.
    first, second = source.records(), source.records()
    assert [next(first).prompt, next(first).prompt] == ["0?", "1?"]
    assert next(second).prompt == "0?"
    assert next(first).prompt == "2?"
    digest = hashlib.sha256(content).hexdigest()
    assert source.describe() == {"path": "-", "sha256": digest, "source": "stdin"}


def test_a_broken_line_is_named(pipe):
    pipe(LINES + b"{\n")
    with pytest.raises(LoraparError) as error:
        list(open_source("-").records())
    assert error.value.what == "`standard input:501` is not a valid record"


def test_an_empty_pipe_has_no_records(pipe):
    pipe(b"")
    assert list(open_source("-").records()) == []


def test_standard_input_is_one_data_set(pipe):
    pipe(LINES)
    with pytest.raises(UsageError, match="given more than once"):
        open_source(["-", "-"])


def test_a_terminal_is_not_waited_for(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(UsageError, match="which is a terminal"):
        open_source("-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="which is a terminal"):
        open_source("-")


def test_a_full_disk_is_an_error_of_ours(pipe, monkeypatch):
    class Full(io.BytesIO):
        def write(self, chunk):
            raise OSError(28, "No space left on device")

    pipe(LINES)
    monkeypatch.setattr(stdin.tempfile, "TemporaryFile", Full)
    with pytest.raises(LoraparError) as error:
        open_source("-")
    assert (error.value.what, error.value.found) == (
        "cannot copy standard input",
        "No space left on device",
    )


def test_a_real_pipe_in_a_process_of_its_own(tmp_path):
    program = (
        "from lorapar_cli.data.readers import open_source\n"
        "source = open_source('-')\n"
        "print(sum(1 for _ in source.records()), sum(1 for _ in source.records()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=LINES, capture_output=True, check=True
    )
    assert done.stdout == b"500 500\n"

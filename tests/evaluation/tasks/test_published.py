"""Rows of published data sets from local files, plain and packed."""

import gzip

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.tasks.published import PublishedRows
from lorapar_cli.store.disk.digests import sha256_file

LINES = '{"a": 1, "b": 2}\n{"a": 3, "b": null}\n'


@pytest.fixture(params=["rows.jsonl", "rows.jsonl.gz"])
def path(request, tmp_path):
    file = tmp_path / request.param
    packed = gzip.compress(LINES.encode())
    file.write_bytes(packed if file.suffix == ".gz" else LINES.encode())
    return file


def test_rows_are_read_up_to_a_limit(path):
    rows = PublishedRows(str(path), "hub/id", None, "test")
    assert list(rows.read(("a",))) == [{"a": 1, "b": 2}, {"a": 3, "b": None}]
    assert list(rows.read(("a", "b"), limit=1)) == [{"a": 1, "b": 2}]
    assert rows.describe() == {"path": str(path), "sha256": sha256_file(path)}


def test_a_row_that_lacks_a_field_is_named(path):
    rows = PublishedRows(str(path), "hub/id", None, "test")
    with pytest.raises(LoraparError, match=f"{path.name}:2` is not a valid row"):
        list(rows.read(("a", "b")))


def test_a_damaged_row_is_named(path):
    damaged = f"{LINES}{{broken\n".encode()
    path.write_bytes(gzip.compress(damaged) if path.suffix == ".gz" else damaged)
    rows = PublishedRows(str(path), "hub/id", None, "test")
    with pytest.raises(LoraparError, match=f"{path.name}:3` is not"):
        list(rows.read(("a",)))

"""Whatever library meets the disk's refusal, a person reads path, cause and remedy."""

import errno
import os
import sqlite3

import pytest
from safetensors import SafetensorError

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk.errors import as_expected, disk_errors


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (OSError(errno.ENOSPC, "full"), "No space left"),
        (OSError(errno.EROFS, "ro", "/run/x"), "Read-only"),
        (PermissionError(errno.EACCES, "no", "/run/x"), "Permission denied"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "No space left"),
        (SafetensorError("IoError(Os { code: 30, kind: ReadOnlyFilesystem })"), "Read-only"),
        (RuntimeError("basic_ios::clear: iostream error"), "iostream error"),
        (RuntimeError("[enforce fail at inline_container.cc:626] . unexpected pos"), "unexpected"),
        (sqlite3.OperationalError("database or disk is full"), "No space left"),
    ],
)
def test_refusals_of_the_disk_become_expected_errors(tmp_path, cause, words):
    with pytest.raises(LoraparError) as caught, disk_errors(tmp_path):
        raise cause
    assert words in caught.value.found
    assert ("/run/x" if getattr(cause, "filename", None) else str(tmp_path)) in caught.value.what
    assert caught.value.__cause__ is cause


@pytest.mark.parametrize(
    "cause", [ValueError("a"), RuntimeError("shape"), sqlite3.OperationalError("no such table")]
)
def test_other_errors_stay_what_they_are(tmp_path, cause):
    with pytest.raises(type(cause)) as caught, disk_errors(tmp_path):
        raise cause
    assert caught.value is cause


def test_expected_errors_pass_unchanged(tmp_path):
    error = LoraparError("a", "b", "c")
    with pytest.raises(LoraparError) as caught, disk_errors(tmp_path):
        raise error
    assert caught.value is error


def test_names_that_are_not_utf8_can_be_shown():
    error = as_expected(OSError(errno.EACCES, "no", b"/a/caf\xe9"))
    assert "caf" in error.what
    assert os.fsencode(error.what.split("`")[1]) == b"/a/caf\xe9"


@pytest.mark.parametrize(
    "text",
    [
        "[enforce fail at inline_container.cc:783] . PytorchStreamWriter failed writing file data/7",
        "basic_ios::clear: iostream error",
        "iostream error",
    ],
)
def test_the_cause_that_a_library_keeps_to_itself_is_found_by_trying(tmp_path, monkeypatch, text):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(LoraparError) as caught, disk_errors(tmp_path / "train-sft" / "checkpoints"):
        raise RuntimeError(text)
    assert caught.value.found == "No space left on device"
    assert "make room" in caught.value.hint
    assert list(tmp_path.iterdir()) == []

"""Small text files: read within bounds, refused with the line and the remedy."""

import os

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk.small_text import MAX_BYTES, read_small_text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", ""),
        ("\ufeffgrün\r\nb\r".encode(), "grün\nb\n"),
        (b"x" * MAX_BYTES, "x" * MAX_BYTES),
    ],
)
def test_text_is_read_with_its_lines_ended_alike(tmp_path, content, text):
    path = tmp_path / "t"
    path.write_bytes(content)
    assert read_small_text(path) == text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("teachers: {}".encode("utf-16"), "it is UTF-16"),
        ("teachers: {}".encode("utf-32"), "it is UTF-32"),
        (b"a: 1\nb: \xff\n", "line 2: byte 0xff"),
        (b"a: 1\n\nb: \0\n", "line 3: a null byte"),
        (b"x" * (MAX_BYTES + 1), "more than 256 KiB"),
    ],
)
def test_what_is_no_small_text_is_refused(tmp_path, content, said):
    path = tmp_path / "t"
    path.write_bytes(content)
    with pytest.raises(LoraparError) as error:
        read_small_text(path)
    assert error.value.found == said
    assert str(path) in error.value.what
    assert error.value.hint


def make(kind, path):
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "endless", "missing"])
def test_what_is_no_file_is_refused_at_once(tmp_path, kind):
    make(kind, tmp_path / "t")
    with pytest.raises(LoraparError, match="/t`"):
        read_small_text(tmp_path / "t")

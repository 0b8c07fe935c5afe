"""Only regular files are read: nothing hangs, and every refusal names the file."""

import os
import socket

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk.regular_files import (
    UnreadableError,
    exists,
    open_regular,
    read_json,
    read_text,
    require_regular,
)
from tests.store.disk.forbidden import forbid


def make(kind, path):
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "broken link":
        path.symlink_to(path.with_name("nowhere"))


@pytest.mark.parametrize("kind", ["folder", "fifo", "device", "socket", "broken link", "missing"])
@pytest.mark.parametrize("read", [open_regular, read_text, read_json, require_regular])
def test_what_is_not_a_file_is_refused_by_name(tmp_path, monkeypatch, kind, read):
    monkeypatch.chdir(tmp_path)  # Addresses of sockets are short.
    path = tmp_path / "f"
    make(kind, path if kind != "socket" else (tmp_path / "f").relative_to(tmp_path))
    with pytest.raises(LoraparError) as caught:
        read(path)
    assert str(path) in caught.value.what


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"{", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_damaged_json_is_refused_by_name(tmp_path, content, said):
    (tmp_path / "f.json").write_bytes(content)
    with pytest.raises(LoraparError, match=said) as caught:
        read_json(tmp_path / "f.json")
    assert "f.json" in caught.value.what


def test_files_are_read_as_they_stand(tmp_path):
    (tmp_path / "f.json").write_text('{"a": "ü"}', encoding="utf-8")
    assert read_json(tmp_path / "f.json") == {"a": "ü"}
    (tmp_path / "link").symlink_to("f.json")
    with open_regular(tmp_path / "link", "rb") as file:
        assert file.read() == '{"a": "ü"}'.encode()


def test_what_may_not_be_read_is_told_from_what_is_missing(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "f").write_text("a")
    forbid(monkeypatch, tmp_path / "inner")
    for call in (open_regular, read_text, exists):
        with pytest.raises(UnreadableError) as caught:
            call(tmp_path / "inner" / "f")
        assert str(tmp_path / "inner" / "f") in caught.value.what
        assert "ermission denied" in caught.value.found
        assert "permission" in caught.value.hint
    assert not exists(tmp_path / "other")


@pytest.mark.parametrize("kind", ["folder", "fifo", "device", "broken link"])
def test_whatever_has_the_name_exists(tmp_path, kind):
    make(kind, tmp_path / "f")
    assert exists(tmp_path / "f")


@pytest.mark.parametrize("name", ["missing", "file/below", "a\0b", "half a pair \ud83d"])
def test_what_is_not_there_or_cannot_be_does_not_exist(tmp_path, name):
    (tmp_path / "file").write_text("")
    assert not exists(tmp_path / name)


def test_links_in_vain_say_so(tmp_path):
    (tmp_path / "f").symlink_to("unplugged/file")
    with pytest.raises(LoraparError, match="is not a file") as caught:
        open_regular(tmp_path / "f")
    assert caught.value.found == "it is a link to `unplugged/file`, which does not exist"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(LoraparError, match="is not a file") as caught:
        open_regular(tmp_path / "loop")
    assert "back to itself" in caught.value.found

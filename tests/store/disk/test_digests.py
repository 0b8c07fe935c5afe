"""sha256 of files: right whenever a file has changed, read once while it has not."""

import hashlib
import os

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk import digests
from lorapar_cli.store.disk.digests import sha256_file


@pytest.fixture
def later(monkeypatch):
    """Sets the clock a minute forward, so that files of now are old."""
    real = digests.time.time_ns
    monkeypatch.setattr(digests.time, "time_ns", lambda: real() + 60 * 10**9)


@pytest.fixture
def reads(monkeypatch):
    """Counts the bytes that are hashed."""
    counted = []
    real = hashlib.sha256

    class Counting:
        def __init__(self):
            self._digest = real()

        def update(self, block):
            counted.append(len(block))
            self._digest.update(block)

        def hexdigest(self):
            return self._digest.hexdigest()

    monkeypatch.setattr(hashlib, "sha256", Counting)
    return counted


def digest(content):
    return hashlib.new("sha256", content).hexdigest()


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_it_is_the_sha256_of_all_bytes(tmp_path, size):
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "f").write_bytes(content)
    assert sha256_file(tmp_path / "f") == digest(content)


def test_a_file_that_stays_is_read_once(tmp_path, later, reads):
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    (tmp_path / "link").symlink_to(path)
    assert {sha256_file(each) for each in (path, path, tmp_path / "link")} == {digest(b"abc")}
    assert sum(reads) == 3


def replaced(path):
    other = path.with_name("other")
    other.write_bytes(b"abd")
    os.replace(other, path)


def with_old_times(path):
    found = path.stat()
    path.write_bytes(b"abd")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.mark.parametrize(
    "change", [lambda path: path.write_bytes(b"abd"), replaced, with_old_times]
)
def test_a_file_that_changed_is_read_again(tmp_path, later, change):
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    assert sha256_file(path) == digest(b"abc")
    # The clock of a file system may stand for some milliseconds.
    os.utime(path, ns=(0, 0))
    assert sha256_file(path) == digest(b"abc")
    change(path)
    assert sha256_file(path) == digest(b"abd")


def test_a_file_of_just_now_may_change_within_its_clock(tmp_path, reads):
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    for _ in range(2):
        assert sha256_file(path) == digest(b"abc")
    assert sum(reads) == 6


def test_what_is_not_a_file_is_refused(tmp_path):
    with pytest.raises(LoraparError):
        sha256_file(tmp_path)

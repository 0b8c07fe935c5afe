"""Locks of stage folders: one holder, named to the others, freed by any kind of end."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk import lock
from lorapar_cli.store.disk.lock import lock_path, stage_lock

HOLDER = """
import sys, time
from pathlib import Path
from lorapar_cli.store.disk import lock
if sys.argv[2] == "existence":
    lock.lock_descriptor = lambda descriptor: False
with lock.stage_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["kernel", "existence"])
def way(request, monkeypatch):
    if request.param == "existence":
        monkeypatch.setattr(lock, "lock_descriptor", lambda descriptor: False)
    return request.param


def hold(folder, way) -> subprocess.Popen:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), way], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "held\n"
    return child


def test_a_second_process_is_refused_and_told_who_is_there(tmp_path, way):
    child = hold(tmp_path / "score", way)
    try:
        with pytest.raises(LoraparError) as caught, stage_lock(tmp_path / "score"):
            raise AssertionError("two holders")
        assert f"process {child.pid} on {socket.gethostname()}" in caught.value.found
        with stage_lock(tmp_path / "partition"):
            pass
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_lock_ends_with_its_process(tmp_path, way, number):
    child = hold(tmp_path / "score", way)
    child.send_signal(number)
    child.wait()
    with stage_lock(tmp_path / "score"):
        assert lock_path(tmp_path / "score").exists()
    assert not lock_path(tmp_path / "score").exists()


def test_a_lock_is_free_again_after_an_error(tmp_path, way):
    with pytest.raises(ZeroDivisionError), stage_lock(tmp_path / "score"):
        raise ZeroDivisionError
    with stage_lock(tmp_path / "score"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_owner_on_another_machine_is_never_taken_for_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "lock_descriptor", lambda descriptor: False)
    owner = {"pid": 2**22 + 1, "host": "elsewhere", "started": 1, "since": "2026-01-01"}
    lock_path(tmp_path / "score").write_text(json.dumps(owner))
    with pytest.raises(LoraparError) as caught, stage_lock(tmp_path / "score"):
        raise AssertionError("taken over")
    assert "on elsewhere" in caught.value.found
    assert str(lock_path(tmp_path / "score")) in caught.value.hint


def test_a_later_process_of_the_same_number_is_not_the_owner(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "lock_descriptor", lambda descriptor: False)
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": 1, "since": "2026"}
    lock_path(tmp_path / "score").write_text(json.dumps(owner))
    with stage_lock(tmp_path / "score"):
        pass


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS])
def test_without_flock_the_file_itself_is_the_lock(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with stage_lock(tmp_path / "score"):
        owner = json.loads(lock_path(tmp_path / "score").read_text())
        assert owner["pid"] == os.getpid()
        with pytest.raises(LoraparError), stage_lock(tmp_path / "score"):
            raise AssertionError("two holders")
    assert list(tmp_path.iterdir()) == []


def test_many_at_once_never_hold_it_together(tmp_path, way):
    """Each process enters a file exclusively while it holds the lock; two at once would fail."""
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom lorapar_cli.errors import LoraparError\n"
        "from lorapar_cli.store.disk import lock\nfolder = Path(sys.argv[1])\n"
        "if sys.argv[2] == 'existence':\n    lock.lock_descriptor = lambda descriptor: False\n"
        "entered = 0\n"
        "while entered < 20:\n"
        "    try:\n"
        "        with lock.stage_lock(folder):\n"
        "            inside = folder.with_name('inside')\n"
        "            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))\n"
        "            inside.unlink()\n"
        "            entered += 1\n"
        "    except LoraparError:\n        pass\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "score"), way])
        for _ in range(4)
    ]
    deadline = time.monotonic() + 60
    assert [child.wait(max(1, deadline - time.monotonic())) for child in started] == [0] * 4


def test_without_flock_a_new_lock_is_never_taken_for_left_over(tmp_path, monkeypatch):
    """The file of a holder that has not written its number yet is empty, and still a lock."""
    monkeypatch.setattr(lock, "lock_descriptor", lambda descriptor: False)
    lock_path(tmp_path / "score").touch()
    with pytest.raises(LoraparError) as caught, stage_lock(tmp_path / "score"):
        raise AssertionError("taken over")
    assert str(lock_path(tmp_path / "score")) in caught.value.hint
    assert lock_path(tmp_path / "score").exists()


def test_a_folder_that_is_a_link_is_held_behind_it(tmp_path, way):
    (tmp_path / "disk" / "score").mkdir(parents=True)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "score").symlink_to(tmp_path / "disk" / "score")
    with (
        stage_lock(tmp_path / "first" / "score"),
        pytest.raises(LoraparError),
        stage_lock(tmp_path / "second" / "score"),
    ):
        raise AssertionError("two holders")
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["score"]


def test_a_lock_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(lock.os, "pwrite", full)
    with pytest.raises(OSError, match="full"), stage_lock(tmp_path / "run" / "score"):
        raise AssertionError("held")
    monkeypatch.undo()
    with stage_lock(tmp_path / "run" / "score"):
        pass

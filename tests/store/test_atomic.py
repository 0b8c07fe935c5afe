"""Results appear whole or not at all, also when the process dies half-way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.store import atomic as publish
from lorapar_cli.store.atomic import atomic_file, new_folder, recover


def test_atomic_file_leaves_the_old_content_when_the_block_fails(tmp_path):
    path = tmp_path / "f.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(path) as file:
        file.write("new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["f.txt"]
    with atomic_file(path) as file:
        file.write("new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("name", [".", "folder", "folder/..", "link"])
def test_a_folder_is_not_replaced_by_a_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    with pytest.raises(LoraparError, match="is a folder, not a file"), atomic_file(Path(name)):
        raise AssertionError
    assert sorted(os.listdir(tmp_path)) == ["folder", "link"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_new_folder_replaces_the_old_one_whole(tmp_path, monkeypatch, can_exchange):
    if not can_exchange:
        monkeypatch.setattr(publish, "exchange", lambda *_: False)
    target = tmp_path / "stage"
    for content in ("first", "second"):
        with new_folder(target) as built:
            (built / "result").write_text(content)
        assert (target / "result").read_text() == content
        assert os.listdir(tmp_path) == ["stage"]


def test_failed_block_leaves_the_old_folder(tmp_path):
    target = tmp_path / "stage"
    with new_folder(target) as built:
        (built / "result").write_text("old")
    with pytest.raises(RuntimeError), new_folder(target) as built:
        (built / "result").write_text("new")
        raise RuntimeError
    assert (target / "result").read_text() == "old"
    assert os.listdir(tmp_path) == ["stage"]


def test_kill_between_two_renames_is_recovered(tmp_path):
    """On a filesystem that cannot exchange folders the old one is aside for a moment."""
    target = tmp_path / "stage"
    with new_folder(target) as built:
        (built / "result").write_text("old")
    os.rename(target, tmp_path / ".stage.old")
    recover(target)
    assert (target / "result").read_text() == "old"


def test_killed_process_leaves_the_old_folder(tmp_path):
    target = tmp_path / "stage"
    with new_folder(target) as built:
        (built / "result").write_text("old")
    code = (
        "import os, pathlib\nfrom lorapar_cli.store.atomic import new_folder\n"
        f"with new_folder(pathlib.Path({str(target)!r})) as built:\n"
        "    (built / 'result').write_text('new')\n    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert (target / "result").read_text() == "old"
    with new_folder(target) as built:
        (built / "result").write_text("newer")
    assert os.listdir(tmp_path) == ["stage"]

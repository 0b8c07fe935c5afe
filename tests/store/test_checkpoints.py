"""Checkpoints: the newest that is complete, intact and of this run counts."""

import json
import os
import shutil

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.checkpoints import has_checkpoint, last_checkpoint, read_mark
from lorapar_cli.store.step_log import StepLog
from tests.store.checkpoint_parts import RUN, write_checkpoint


def damage_nothing(folder):
    pass


def truncate_file(folder):
    with open(folder / "weights", "r+") as file:
        file.truncate(5)


def flip_bit(folder):
    (folder / "weights").write_text("v" + "w" * 199)


def lose(folder):
    (folder / "inner" / "state").unlink()


def add(folder):
    (folder / "more").write_text("")


def put_pipe(folder):
    (folder / "weights").unlink()
    os.mkfifo(folder / "weights")


def empty(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def mark_with(text):
    return lambda folder: (folder / "complete").write_text(text)


def link_mark(folder):
    (folder / "complete").unlink()
    (folder / "complete").symlink_to("/nonexistent/mark")


def names(work):
    return {path.name for path in (work / "checkpoints").iterdir()}


@pytest.mark.parametrize(
    ("damage", "left", "said"),
    [
        (damage_nothing, 20, False),
        (truncate_file, 10, True),
        (flip_bit, 10, True),
        (lose, 10, True),
        (add, 10, True),
        (put_pipe, 10, True),
        # Nobody can tell it from one that was never complete.
        (empty, 10, False),
        (link_mark, 10, True),
        *((mark_with(text), 10, True) for text in ("{", "null", "[]", "7", '{"files": {}}')),
        (mark_with('{"belongs_to": "x", "files": [], "logs": {}}'), 10, True),
        (mark_with('{"belongs_to": "x", "files": {}, "logs": {"a": {"bytes": 1e999}}}'), 10, True),
    ],
)
def test_the_newest_complete_checkpoint_counts(tmp_path, damage, left, said):
    write_checkpoint(tmp_path, 9)
    write_checkpoint(tmp_path, 10)
    damage(write_checkpoint(tmp_path, 20))
    write_checkpoint(tmp_path, 30, marked=False)
    found, notes = last_checkpoint(tmp_path, RUN)
    assert found.name == f"checkpoint-{left}"
    assert names(tmp_path) == {f"checkpoint-{step}" for step in (9, 10, 20) if step <= left}
    assert notes == (["checkpoint `checkpoint-20` was damaged and is not used"] if said else [])


def test_a_checkpoint_of_another_run_is_not_resumed_from(tmp_path):
    write_checkpoint(tmp_path, 2)
    write_checkpoint(tmp_path, 3, belongs_to="of other settings")
    assert has_checkpoint(tmp_path)
    assert has_checkpoint(tmp_path, RUN)
    assert not has_checkpoint(tmp_path, "of a third")
    found, notes = last_checkpoint(tmp_path, RUN)
    assert found.name == "checkpoint-2"
    assert notes == ["checkpoint `checkpoint-3` belongs to another run and is not used"]
    assert last_checkpoint(tmp_path, "of a third")[0] is None


def logged(work):
    """Two checkpoints after two and four lines of a log that has five."""
    log = StepLog(work / "metrics.jsonl")
    for step in range(1, 6):
        log.append([{"step": step, "loss": 1 / step}])
        if step in (2, 4):
            write_checkpoint(work, step, logs={"metrics.jsonl": log})
    return work / "metrics.jsonl"


def test_a_log_may_have_grown_since_its_checkpoint(tmp_path):
    path = logged(tmp_path)
    found, notes = last_checkpoint(tmp_path, RUN)
    assert (found.name, notes) == ("checkpoint-4", [])
    StepLog(path, read_mark(found).logs["metrics.jsonl"])
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3, 4]


def test_a_damaged_log_leaves_the_checkpoints_that_it_still_fits(tmp_path):
    path = logged(tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], lines[2].replace("0.3", "0.4"), *lines[3:]]))
    found, notes = last_checkpoint(tmp_path, RUN)
    assert found.name == "checkpoint-2"
    assert notes == [
        "checkpoint `checkpoint-4` needs `metrics.jsonl`, which was damaged, and is not used"
    ]
    assert names(tmp_path) == {"checkpoint-2"}


@pytest.mark.parametrize("way", ["flipped", "gone", "shorter", "pipe"])
def test_a_log_that_fits_no_checkpoint_is_said_and_nothing_is_removed(tmp_path, way):
    path = logged(tmp_path)
    text = path.read_text()
    path.unlink()
    if way == "flipped":
        path.write_text(text.replace("1.0", "2.0"))
    elif way == "shorter":
        path.write_text(text[:20])
    elif way == "pipe":
        os.mkfifo(path)
    with pytest.raises(LoraparError) as caught:
        last_checkpoint(tmp_path, RUN)
    assert "metrics.jsonl` was damaged" in caught.value.what
    assert names(tmp_path) == {"checkpoint-2", "checkpoint-4"}
    shutil.rmtree(tmp_path / "checkpoints")
    assert last_checkpoint(tmp_path, RUN) == (None, [])

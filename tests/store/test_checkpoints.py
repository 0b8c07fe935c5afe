"""Checkpoints: the newest complete one counts, and what is incomplete is removed."""

import pytest

from lorapar_cli.store.checkpoints import last_checkpoint
from tests.store.checkpoint_parts import write_checkpoint


def damage_nothing(folder):
    pass


def truncate_file(folder):
    with open(folder / "weights", "r+") as file:
        file.truncate(5)


def lose(folder):
    (folder / "inner" / "state").unlink()


def empty(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def tear_mark(folder):
    (folder / "complete").write_text("{")


@pytest.mark.parametrize(
    ("damage", "left"),
    [(damage_nothing, 20), (truncate_file, 10), (lose, 10), (empty, 10), (tear_mark, 10)],
)
def test_the_newest_complete_checkpoint_counts(tmp_path, damage, left):
    write_checkpoint(tmp_path, 9)
    write_checkpoint(tmp_path, 10)
    damage(write_checkpoint(tmp_path, 20))
    write_checkpoint(tmp_path, 30, marked=False)
    assert last_checkpoint(tmp_path)[0].name == f"checkpoint-{left}"
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {f"checkpoint-{step}" for step in (9, 10, 20) if step <= left}

"""Folders of training runs: what is cleared, what is kept, what a run goes on from."""

import json

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.store.checkpoints import last_checkpoint, mark_complete
from lorapar_cli.store.manifest import Manifest, read_manifest, write_manifest
from lorapar_cli.store.resumable_folder import finish_working_folder, open_working_folder
from lorapar_cli.store.step_log import StepLog


def sft(**settings) -> Manifest:
    return Manifest(Stage.TRAIN_SFT, settings)


def write_checkpoint(work, step, marked=True):
    folder = work / "checkpoints" / f"checkpoint-{step}"
    (folder / "inner").mkdir(parents=True)
    (folder / "weights").write_text("w" * 10 * step)
    (folder / "inner" / "state").write_text("s")
    if marked:
        mark_complete(folder)
    return folder


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_something_else_is_never_cleared(tmp_path, overwrite):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(LoraparError, match="holds no training run"):
        open_working_folder(tmp_path, sft(), overwrite)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_another_stages_result_is_never_replaced(tmp_path, overwrite):
    write_manifest(tmp_path, Manifest(Stage.SCORE, {}))
    with pytest.raises(LoraparError, match="holds a result of `score`"):
        open_working_folder(tmp_path, sft(), overwrite)
    assert read_manifest(tmp_path).stage == Stage.SCORE


def test_empty_and_missing_folders_are_taken(tmp_path):
    assert open_working_folder(tmp_path, sft(), False) == tmp_path
    assert open_working_folder(tmp_path / "new", sft(), False) == tmp_path / "new"


def test_an_unfinished_run_goes_on_or_makes_room(tmp_path):
    work = open_working_folder(tmp_path, sft(seed=0), False)
    write_checkpoint(work, 1)
    assert last_checkpoint(open_working_folder(tmp_path, sft(seed=0), False))
    with pytest.raises(LoraparError, match="other settings"):
        open_working_folder(tmp_path, sft(seed=1), False)
    assert last_checkpoint(open_working_folder(tmp_path, sft(seed=1), True)) is None
    assert not list(work.glob("checkpoints/*"))


def test_a_replaced_result_stays_until_its_successor_is_in_place(tmp_path, monkeypatch):
    folder = tmp_path / "train-sft"
    finish_working_folder(open_working_folder(folder, sft(seed=0), False), folder, sft(seed=0))
    work = open_working_folder(folder, sft(seed=1), True)
    write_checkpoint(work, 3)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("lorapar_cli.store.resumable_folder.publish_folder", killed)
        finish_working_folder(work, folder, sft(seed=1))
    assert read_manifest(folder).settings == {"seed": 0}
    # What was trained is not lost: the run goes on from its last checkpoint.
    again = open_working_folder(folder, sft(seed=1), True)
    assert last_checkpoint(again).name == "checkpoint-3"
    finish_working_folder(again, folder, sft(seed=1))
    assert read_manifest(folder).settings == {"seed": 1}
    assert not (folder / "unfinished.json").exists()


def damage_nothing(folder):
    pass


def cut_off(folder):
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
    [(damage_nothing, 20), (cut_off, 10), (lose, 10), (empty, 10), (tear_mark, 10)],
)
def test_the_newest_whole_checkpoint_counts(tmp_path, damage, left):
    write_checkpoint(tmp_path, 9)
    write_checkpoint(tmp_path, 10)
    damage(write_checkpoint(tmp_path, 20))
    write_checkpoint(tmp_path, 30, marked=False)
    assert last_checkpoint(tmp_path).name == f"checkpoint-{left}"
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {f"checkpoint-{step}" for step in (9, 10, 20) if step <= left}


def test_a_log_goes_on_from_its_step_whatever_its_lines_hold(tmp_path):
    path = tmp_path / "completions.jsonl"
    odd = "next line \x85, line separator \u2028, form feed \x0c, \n and \r\n"
    log = StepLog(path, 0)
    log.append([{"step": step, "completion": odd} for step in (1, 1, 2, 2, 3)])
    torn = json.dumps({"step": 3, "completion": "ü"}, ensure_ascii=False).encode()
    with open(path, "ab") as file:
        file.write(torn[: torn.index("ü".encode()) + 1])
    StepLog(path, 2).append([{"step": 3, "completion": odd}])
    lines = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    assert lines == [{"step": step, "completion": odd} for step in (1, 1, 2, 2, 3)]

"""Folders of training runs: what is cleared, what is kept, what a run resumes from."""

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.store.checkpoints import last_checkpoint
from lorapar_cli.store.manifest import Manifest, read_manifest, write_manifest
from lorapar_cli.store.resumable_folder import finish_working_folder, open_working_folder
from tests.store.checkpoint_parts import write_checkpoint


def sft(**settings) -> Manifest:
    return Manifest(Stage.TRAIN_SFT, settings)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_files_is_never_cleared(tmp_path, overwrite):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(LoraparError, match="does not contain a training run"):
        open_working_folder(tmp_path, sft(), overwrite)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_another_stages_result_is_never_replaced(tmp_path, overwrite):
    write_manifest(tmp_path, Manifest(Stage.SCORE, {}))
    with pytest.raises(LoraparError, match="contains a result of `score`"):
        open_working_folder(tmp_path, sft(), overwrite)
    assert read_manifest(tmp_path).stage == Stage.SCORE


def test_empty_and_missing_folders_are_taken(tmp_path):
    assert open_working_folder(tmp_path, sft(), False) == tmp_path
    assert open_working_folder(tmp_path / "new", sft(), False) == tmp_path / "new"


def test_an_unfinished_run_resumes_or_makes_room(tmp_path):
    work = open_working_folder(tmp_path, sft(seed=0), False)
    write_checkpoint(work, 1)
    assert last_checkpoint(open_working_folder(tmp_path, sft(seed=0), False))[0]
    with pytest.raises(LoraparError, match="other settings"):
        open_working_folder(tmp_path, sft(seed=1), False)
    assert last_checkpoint(open_working_folder(tmp_path, sft(seed=1), True))[0] is None
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
    # What was trained is not lost: the run resumes from its last checkpoint.
    again = open_working_folder(folder, sft(seed=1), True)
    assert last_checkpoint(again)[0].name == "checkpoint-3"
    finish_working_folder(again, folder, sft(seed=1))
    assert read_manifest(folder).settings == {"seed": 1}
    assert not (folder / "unfinished.json").exists()

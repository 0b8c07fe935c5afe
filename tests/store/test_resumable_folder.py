"""Folders of training runs: what is cleared, what is kept, what a run resumes from."""

import os
from dataclasses import dataclass

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.options import Options, option
from lorapar_cli.store.checkpoints import has_checkpoint, last_checkpoint
from lorapar_cli.store.manifest import Manifest, read_manifest, write_manifest
from lorapar_cli.store.resumable_folder import (
    finish_working_folder,
    identity_digest,
    open_working_folder,
    run_digest,
)
from tests.store import checkpoint_parts


def sft(**settings) -> Manifest:
    return Manifest(Stage.TRAIN_SFT, settings)


def write_checkpoint(work, step, **settings):
    return checkpoint_parts.write_checkpoint(
        work, step, belongs_to=identity_digest(sft(**settings))
    )


def newest(work, **settings):
    return last_checkpoint(work, identity_digest(sft(**settings)))[0]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_files_is_never_cleared(tmp_path, overwrite):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(LoraparError, match="does not contain a run of `train-sft`"):
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
    write_checkpoint(work, 1, seed=0)
    assert newest(open_working_folder(tmp_path, sft(seed=0), False), seed=0)
    with pytest.raises(LoraparError, match="other settings"):
        open_working_folder(tmp_path, sft(seed=1), False)
    assert newest(open_working_folder(tmp_path, sft(seed=1), True), seed=1) is None
    assert not list(work.glob("checkpoints/*"))


def test_a_replaced_result_stays_until_its_successor_is_in_place(tmp_path, monkeypatch):
    folder = tmp_path / "train-sft"
    finish_working_folder(open_working_folder(folder, sft(seed=0), False), folder, sft(seed=0))
    work = open_working_folder(folder, sft(seed=1), True)
    write_checkpoint(work, 3, seed=1)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("lorapar_cli.store.resumable_folder.publish_folder", killed)
        finish_working_folder(work, folder, sft(seed=1))
    assert read_manifest(folder).settings == {"seed": 0}
    # What was trained is not lost: the run resumes from its last checkpoint.
    again = open_working_folder(folder, sft(seed=1), True)
    assert newest(again, seed=1).name == "checkpoint-3"
    finish_working_folder(again, folder, sft(seed=1))
    assert read_manifest(folder).settings == {"seed": 1}
    assert not (folder / "unfinished.json").exists()


def damage_record(path, way):
    """Damages the record of an unfinished run."""
    path.unlink()
    if way == "of other settings":
        path.write_text('{"settings": {"seed": 5}, "inputs": {}}')
    elif way == "folder":
        path.mkdir()
    elif way == "pipe":
        os.mkfifo(path)
    elif way == "link":
        path.symlink_to("/dev/zero")
    elif way != "gone":
        path.write_bytes(bytes(64) if way == "zeros" else b"[]")


WAYS = ["of other settings", "folder", "pipe", "link", "gone", "zeros", "list"]


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_record_is_restored_from_a_checkpoint(tmp_path, way):
    work = open_working_folder(tmp_path, sft(seed=0), False)
    record = work / "unfinished.json"
    before = record.read_bytes()
    write_checkpoint(work, 4, seed=0)
    damage_record(record, way)
    manifest = sft(seed=0)
    assert newest(open_working_folder(tmp_path, manifest, False), seed=0).name == "checkpoint-4"
    assert record.read_bytes() == before
    assert ["unfinished.json" in note and "restored" in note for note in manifest.notes] == [True]


@pytest.mark.parametrize("way", WAYS)
def test_another_runs_checkpoints_are_not_lost_to_a_damaged_record(tmp_path, way):
    work = open_working_folder(tmp_path, sft(seed=0), False)
    write_checkpoint(work, 4, seed=0)
    damage_record(work / "unfinished.json", way)
    with pytest.raises(LoraparError):
        open_working_folder(tmp_path, sft(seed=1), False)
    assert newest(work, seed=0).name == "checkpoint-4"


def test_a_run_without_a_checkpoint_is_started_over_and_says_so(tmp_path):
    work = open_working_folder(tmp_path, sft(seed=0), False)
    (work / "metrics.jsonl").write_text("of the first try")
    (work / "unfinished.json").write_text("{")
    manifest = sft(seed=0)
    open_working_folder(tmp_path, manifest, False)
    assert [path.name for path in tmp_path.iterdir()] == ["unfinished.json"]
    assert manifest.notes == ["`unfinished.json` was damaged: the run was started over"]
    again = sft(seed=0)
    open_working_folder(tmp_path, again, False)
    assert again.notes == []


def test_a_run_that_was_killed_while_it_recorded_its_start_is_begun_again(tmp_path):
    (tmp_path / ".unfinished.json.123.tmp").write_text('{"settings"')
    work = open_working_folder(tmp_path, sft(), False)
    assert [path.name for path in work.iterdir()] == ["unfinished.json"]


def test_what_kills_left_of_files_being_written_goes(tmp_path):
    work = open_working_folder(tmp_path, sft(), False)
    write_checkpoint(work, 1)
    (work / ".metrics.jsonl.123.tmp").write_text("half")
    open_working_folder(tmp_path, sft(), False)
    finish_working_folder(work, tmp_path, sft())
    assert read_manifest(tmp_path).outputs == {}


def test_a_folder_that_is_a_link_is_filled_and_replaced_behind_it(tmp_path):
    real, link = tmp_path / "disk" / "sft", tmp_path / "run" / "train-sft"
    real.mkdir(parents=True)
    link.parent.mkdir()
    link.symlink_to(real)
    for seed in (0, 1):
        work = open_working_folder(link, sft(seed=seed), True)
        (work / "adapter").write_text(str(seed))
        finish_working_folder(work, link, sft(seed=seed))
        assert link.is_symlink()
        assert (real / "adapter").read_text() == str(seed)
        assert read_manifest(link).settings == {"seed": seed}
    assert [path.name for path in real.parent.iterdir()] == ["sft"]


def test_a_link_that_leads_nowhere_is_refused(tmp_path):
    (tmp_path / "train-sft").symlink_to(tmp_path / "unplugged" / "sft")
    with pytest.raises(LoraparError, match="leads nowhere"):
        open_working_folder(tmp_path / "train-sft", sft(), True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_manifest_of_another_program_costs_nobody_a_folder(tmp_path, overwrite):
    (tmp_path / "manifest.json").write_text('{"name": "extension", "version": 3}')
    (tmp_path / "background.js").write_text("mine")
    with pytest.raises(LoraparError, match="cannot be read"):
        open_working_folder(tmp_path, sft(), overwrite)
    assert (tmp_path / "background.js").read_text() == "mine"


def test_a_damaged_result_is_replaced_on_request_only(tmp_path):
    finish_working_folder(open_working_folder(tmp_path, sft(), False), tmp_path, sft())
    write_checkpoint(tmp_path, 1)
    (tmp_path / "manifest.json").write_bytes(bytes(100))
    with pytest.raises(LoraparError, match="cannot be read"):
        open_working_folder(tmp_path, sft(), False)
    work = open_working_folder(tmp_path, sft(), True)
    assert [path.name for path in work.iterdir()] == ["unfinished.json"]
    assert not has_checkpoint(work)


def test_files_of_a_result_that_are_damaged_are_named(tmp_path):
    work = open_working_folder(tmp_path, sft(), False)
    for name in ("replay.jsonl", "metrics.jsonl"):
        (work / name).write_text("{}\n")
    finish_working_folder(work, tmp_path, sft())
    (tmp_path / "replay.jsonl").write_text("[]\n")
    with pytest.raises(LoraparError, match="whose files are damaged") as caught:
        open_working_folder(tmp_path, sft(), False)
    assert caught.value.found == "`replay.jsonl` has other contents"
    assert "--overwrite" in caught.value.hint


def test_a_folder_that_was_removed_meanwhile_is_not_published(tmp_path):
    folder = tmp_path / "train-sft"
    work = open_working_folder(folder, sft(), False)
    (work / "unfinished.json").unlink()
    with pytest.raises(LoraparError, match="removed or replaced"):
        finish_working_folder(work, folder, sft())
    assert read_manifest(folder) is None


@dataclass(frozen=True)
class GrownOptions(Options):
    """Options of a stage that has got two since some runs were made."""

    seed: int = option(0, "Seed.")
    source: str = option("other", "Where from.")
    packages: tuple[str, ...] = option((), "Which.", recorded=False)


def grown(**settings) -> Manifest:
    return sft(**{"seed": 0, "source": "other", "packages": []} | settings)


def test_an_unfinished_run_that_is_older_than_an_option_resumes_with_its_default(tmp_path):
    work = open_working_folder(tmp_path, sft(seed=0), False)
    write_checkpoint(work, 1, seed=0)
    assert open_working_folder(work, grown(), False, kind=GrownOptions) == work
    older = run_digest(work, grown(), kind=GrownOptions)
    assert last_checkpoint(work, older)[0].name == "checkpoint-1"
    # Its next checkpoints belong to the same run, so that a second kill costs no more than one.
    checkpoint_parts.write_checkpoint(work, 2, belongs_to=older)
    open_working_folder(work, grown(), False, kind=GrownOptions)
    found = last_checkpoint(work, run_digest(work, grown(), kind=GrownOptions))[0]
    assert found.name == "checkpoint-2"
    with pytest.raises(LoraparError, match="unfinished run with other settings"):
        open_working_folder(work, grown(source="self"), False, kind=GrownOptions)


def test_a_finished_run_that_is_older_than_an_option_differs_in_what_was_chosen_alone(tmp_path):
    finish_working_folder(open_working_folder(tmp_path, sft(seed=0), False), tmp_path, sft(seed=0))
    with pytest.raises(LoraparError) as caught:
        open_working_folder(tmp_path, grown(seed=1), False, kind=GrownOptions)
    assert caught.value.found == "`seed` was 0, is 1"
    with pytest.raises(LoraparError) as caught:
        open_working_folder(tmp_path, grown(packages=["numpy"]), False, kind=GrownOptions)
    assert caught.value.found == "`packages` was [], is ['numpy']"


@pytest.mark.parametrize("record", ["[]", '{"settings": 3}', '{"settings": {"seed": 0}}', "null"])
def test_a_record_of_an_unfinished_run_of_another_shape_is_another_run(tmp_path, record):
    work = open_working_folder(tmp_path, grown(), False, kind=GrownOptions)
    (work / "unfinished.json").write_text(record)
    assert run_digest(work, grown(), kind=GrownOptions) == identity_digest(grown())

"""Records to train on: which files, what is read, what is replayed, what is noted."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models.rendering.chat_template import ChatTemplate
from lorapar_cli.names import Artifact, Stage, System
from lorapar_cli.store.records import Record, write_records
from lorapar_cli.training.inputs import (
    drop_too_long,
    find_training_inputs,
    read_training_records,
    training_files,
)
from tests.training.training_runs import RL, SFT


def write(path, system, count):
    records = [Record(f"{system}-{row}", "p", "c", label=system) for row in range(count)]
    write_records(path, records)
    return path


@pytest.mark.parametrize(("share", "there", "replayed"), [(0.3, 90, 30), (0.9, 12, 12)])
def test_the_share_that_is_replayed_is_the_requested_one_or_noted(tmp_path, share, there, replayed):
    files = {
        "system1": write(tmp_path / "1.jsonl", System.SYSTEM1, 70),
        "system2": write(tmp_path / "2.jsonl", System.SYSTEM2, there),
    }
    notes = []
    records = read_training_records(files, share, 0, notes).all
    assert sum(record.label is System.SYSTEM2 for record in records) == replayed
    assert sum(record.label is System.SYSTEM1 for record in records) == 70
    said = [note for note in notes if "asks for 630 records" in note and "14.6%" in note]
    assert len(said) == len(notes) == (0 if share == 0.3 else 1)


def test_a_bad_file_is_named_without_options_of_classify(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "no record"}\n')
    with pytest.raises(LoraparError, match=r"mine\.jsonl:1") as caught:
        read_training_records({"data": path}, 0.0, 0, [])
    assert "--" not in caught.value.hint
    assert caught.value.hint.startswith("fix it")


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "1.jsonl").write_text("")
    with pytest.raises(LoraparError, match="nothing to train on") as caught:
        read_training_records({"system1": tmp_path / "1.jsonl"}, 0.0, 0, [])
    assert "is empty" in caught.value.found


def test_records_that_cannot_be_used_are_left_out_before_replay_is_counted(tmp_path):
    files = {
        "system1": write(tmp_path / "1.jsonl", System.SYSTEM1, 20),
        "system2": write(tmp_path / "2.jsonl", System.SYSTEM2, 20),
    }
    seen = []

    def select(records, path):
        seen.append(path.name)
        return records[::2]

    records = read_training_records(files, 0.5, 0, [], select).all
    assert seen == ["1.jsonl", "2.jsonl"]
    assert sorted({record.label for record in records}) == ["system1", "system2"]
    assert len(records) == 20


@pytest.mark.parametrize(
    ("data", "replay", "files"),
    [
        ("system1", 0.0, {"system1": "s/system1.jsonl"}),
        ("system2", 0.1, {"system2": "s/system2.jsonl", "system1": "s/system1.jsonl"}),
        ("all", 0.0, {"system1": "s/system1.jsonl", "system2": "s/system2.jsonl"}),
        ("mine.jsonl", 0.0, {"data": "mine.jsonl"}),
    ],
)
def test_files_of_data_and_replay(data, replay, files):
    found = training_files(Path("s"), data, replay)
    assert {name: path.as_posix() for name, path in found.items()} == files
    assert list(found) == list(files)


@pytest.mark.parametrize("data", ["all", "mine.jsonl"])
@pytest.mark.parametrize("source", ["other", "self"])
def test_replay_needs_another_system_or_a_file(data, source):
    with pytest.raises(UsageError, match="--replay"):
        training_files(Path("s"), data, 0.5, source)
    assert training_files(Path("s"), data, 0.5, "f.csv")["replay"] == Path("f.csv")


def test_replayed_records_of_a_file_are_in_any_format(tmp_path):
    files = {
        "system1": write(tmp_path / "1.jsonl", System.SYSTEM1, 6),
        "replay": tmp_path / "more.csv",
    }
    files["replay"].write_text("question,answer\n1+1?,#### 2\n1+2?,#### 3\n")
    notes = []
    records = read_training_records(files, 0.5, 0, notes)
    assert sorted(record.prompt for record in records.replayed) == ["1+1?", "1+2?"]
    assert records.all == records.own + records.replayed
    (note,) = notes
    assert f"asks for 6 records of `{files['replay']}` and there are 2" in note


def test_replayed_records_that_are_trained_on_anyway_are_counted(tmp_path):
    own = [Record(str(n), f"p{n}", "c", label=System.SYSTEM1) for n in range(6)]
    write_records(tmp_path / "1.jsonl", own)
    (tmp_path / "more.csv").write_text("question,answer\np4,#### 2\np9,#### 3\np5,#### 3\n")
    files = {"system1": tmp_path / "1.jsonl", "replay": tmp_path / "more.csv"}
    notes = []
    read_training_records(files, 1 / 3, 0, notes)
    (note,) = notes
    assert note.startswith(f"2 of 3 records to replay from `{files['replay']}` have a prompt")


def test_an_empty_file_of_the_users_own_is_named_by_its_option(tmp_path):
    write(tmp_path / "1.jsonl", System.SYSTEM1, 6)
    (tmp_path / "none.jsonl").write_text("")
    files = {"system1": tmp_path / "1.jsonl", "replay": tmp_path / "none.jsonl"}
    with pytest.raises(LoraparError, match="nothing to replay") as caught:
        read_training_records(files, 0.5, 0, [])
    assert "`--replay-source`" in caught.value.hint
    with pytest.raises(LoraparError, match="nothing to train on") as caught:
        read_training_records({"data": tmp_path / "none.jsonl"}, 0.0, 0, [])
    assert "`--data`" in caught.value.hint


def test_a_replay_source_that_is_no_file_is_told_what_it_may_be(run_dir):
    options = replace(SFT, replay=0.1, replay_source="system2")
    with pytest.raises(LoraparError, match="no such file: `system2`") as caught:
        find_training_inputs(run_dir, options, Stage.TRAIN_SFT, "init")
    assert "`other`, `self` or a file" in caught.value.hint


def test_a_share_of_less_than_a_record_is_noted(tmp_path):
    files = {
        "system1": write(tmp_path / "1.jsonl", System.SYSTEM1, 20),
        "system2": write(tmp_path / "2.jsonl", System.SYSTEM2, 20),
    }
    notes = []
    assert read_training_records(files, 0.01, 0, notes).replayed == []
    assert notes == ["`--replay 0.01` of 20 records is less than one: nothing is replayed"]


def test_inputs_are_those_of_the_run(run_dir, tmp_path):
    source = find_training_inputs(run_dir, replace(SFT, replay=0.1), Stage.TRAIN_SFT, "init")
    assert list(source.described) == ["system1", "system2", "adapter", "adapter_config", "mask"]
    assert source.folder == run_dir.folder(Stage.TRAIN_SFT)
    assert source.mask == run_dir.folder(Stage.PARTITION) / Artifact.MASK
    assert source.settings["model"] == source.base_id
    assert source.template == ChatTemplate()
    assert source.settings["template"] is None
    manifest = source.new_manifest(Stage.TRAIN_SFT, ["replay"])
    assert (manifest.given, manifest.seed) == (["replay"], 0)
    assert source.find_result() is None


def test_a_missing_stage_is_named_with_its_option(run_dir):
    with pytest.raises(LoraparError, match="no adapter in run directory") as caught:
        find_training_inputs(run_dir, RL, Stage.TRAIN_RL, "sft")
    assert "`lorapar train-sft`" in caught.value.hint
    assert "--adapter" in caught.value.hint


def test_files_that_options_name_come_before_the_runs(run_dir, tmp_path):
    score = run_dir.folder(Stage.SCORE) / Artifact.ADAPTER
    named = replace(
        RL,
        splits=run_dir.folder(Stage.CLASSIFY),
        adapter=score,
        mask=str(run_dir.folder(Stage.PARTITION) / Artifact.MASK),
    )
    # Nothing has been trained, so that the run's own adapter would be missing.
    source = find_training_inputs(run_dir, named, Stage.TRAIN_RL, "sft")
    assert (source.adapter, source.mask) == (score, Path(named.mask))
    assert (
        find_training_inputs(run_dir, replace(named, mask="none"), Stage.TRAIN_RL, "sft").mask
        is None
    )


@pytest.mark.parametrize("stage", [Stage.SCORE, Stage.PARTITION])
def test_a_stale_adapter_or_mask_is_refused(run_dir, stage):
    path = run_dir.folder(stage) / Artifact.MANIFEST
    manifest = json.loads(path.read_text())
    for described in manifest["inputs"].values():
        described["sha256"] = "0" * 64
    path.write_text(json.dumps(manifest))
    with pytest.raises(LoraparError, match=f"{stage}` is stale"):
        find_training_inputs(run_dir, SFT, Stage.TRAIN_SFT, "init")


def test_a_template_file_that_cannot_be_read_is_refused(run_dir, tmp_path):
    options = replace(SFT, template=tmp_path / "nope.jinja")
    with pytest.raises(LoraparError, match=r"nope\.jinja"):
        find_training_inputs(run_dir, options, Stage.TRAIN_SFT, "init")


def test_the_stage_folder_is_the_one_that_out_names(run_dir, tmp_path):
    options = replace(SFT, out=tmp_path / "mine", from_="init")
    source = find_training_inputs(run_dir, options, Stage.TRAIN_SFT, "sft")
    assert source.folder == tmp_path / "mine"
    assert source.adapter == run_dir.folder(Stage.SCORE) / Artifact.ADAPTER


def test_items_over_the_limit_are_left_out_and_the_first_of_them_named():
    records = [Record(f"r{number}", "p", "c") for number in range(9)]
    notes = []
    kept = drop_too_long([*"abcdefghi"], [*range(9)], records, 2, "prompt", "--limit", notes)
    assert kept == ["a", "b", "c"]
    assert notes == [
        "6 of 9 records left out, prompt over 2 tokens: `r3`, `r4`, `r5`, `r6`, `r7`, ..."
    ]
    assert drop_too_long([1], [2], records[:1], 2, "prompt", "--limit", notes) == [1]
    assert len(notes) == 1
    with pytest.raises(LoraparError, match="every record is longer than 1 token") as caught:
        drop_too_long([1, 2], [4, 3], records[:2], 1, "prompt", "--limit", notes)
    assert caught.value.found == "the shortest has 3"
    assert caught.value.hint == "raise `--limit`"

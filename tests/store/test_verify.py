"""Files are held against what their stage wrote: any change is noticed, wherever they are read."""

import os
import shutil
from pathlib import Path

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.store import run_dir as run_dir_module
from lorapar_cli.store import verify
from lorapar_cli.store.atomic import new_folder
from lorapar_cli.store.disk.regular_files import UnreadableError
from lorapar_cli.store.manifest import Manifest, read_manifest, write_manifest
from lorapar_cli.store.reuse import checking, describe_inputs, find_changes, reuse
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.verify import check_folder, check_written, find_damage, writer_of
from tests.store.disk.forbidden import forbid


@pytest.fixture
def run(tmp_path) -> RunDir:
    """A scored and partitioned run of small files, and a data file outside of it."""
    run = RunDir(tmp_path / "run")
    (tmp_path / "data.jsonl").write_text("data")
    score, partition = run.folder(Stage.SCORE), run.folder(Stage.PARTITION)
    (score / "adapter").mkdir(parents=True)
    (score / "importance.safetensors").write_text("importance")
    (score / "adapter" / "adapter_config.json").write_text("{}")
    inputs = describe_inputs({"data": tmp_path / "data.jsonl"})
    write_manifest(score, Manifest(Stage.SCORE, {"r": 8}, inputs=inputs))
    partition.mkdir()
    (partition / "mask.safetensors").write_text("mask")
    inputs = describe_inputs({"importance": score / "importance.safetensors"})
    write_manifest(partition, Manifest(Stage.PARTITION, {"theta": 0.9}, inputs=inputs))
    return run


def test_inputs_inside_the_run_are_recorded_relative_to_it(run, tmp_path, monkeypatch):
    assert run.manifest(Stage.PARTITION).inputs["importance"]["path"] == (
        "score/importance.safetensors"
    )
    assert run.manifest(Stage.SCORE).inputs["data"]["path"] == str(tmp_path / "data.jsonl")
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    (run.folder(Stage.SCORE) / "importance.safetensors").write_text("other")
    assert RunDir(Path("../run")).changed_inputs(Stage.PARTITION) == {"importance": "changed"}


def test_a_copied_run_is_judged_by_its_own_files(run, tmp_path):
    shutil.copytree(run.root, tmp_path / "copy")
    copy = RunDir(tmp_path / "copy")
    (run.folder(Stage.SCORE) / "importance.safetensors").write_text("other")
    assert copy.changed_inputs(Stage.PARTITION) == {}
    assert copy.damage(Stage.SCORE) == []
    (copy.folder(Stage.SCORE) / "importance.safetensors").unlink()
    assert copy.changed_inputs(Stage.PARTITION) == {"importance": "missing"}


@pytest.mark.parametrize(
    ("content", "found"),
    [("importancE", "has other contents"), ("imp", "has 3 bytes, not 10"), (None, "is missing")],
)
def test_damage_is_found_and_named(run, content, found):
    folder = run.folder(Stage.SCORE)
    path = folder / "importance.safetensors"
    path.unlink() if content is None else path.write_text(content)
    (damage,) = find_damage(folder, read_manifest(folder))
    assert (damage.name, damage.found) == ("importance.safetensors", found)
    with pytest.raises(LoraparError) as caught:
        check_written(path)
    assert "`score` wrote" in caught.value.what
    with pytest.raises(LoraparError):
        describe_inputs({"importance": path})
    assert reuse(folder, {"r": 8}, read_manifest(folder).inputs) is None


def test_a_folder_inside_a_stage_is_checked_whole(run):
    adapter = run.folder(Stage.SCORE) / "adapter"
    check_folder(adapter)
    (adapter / "adapter_config.json").write_text("[]")
    with pytest.raises(LoraparError, match="adapter_config"):
        check_folder(adapter)


def test_files_that_no_stage_wrote_pass(tmp_path):
    (tmp_path / "mine.jsonl").write_text("a")
    assert writer_of(tmp_path / "mine.jsonl") is None
    check_written(tmp_path / "mine.jsonl")
    check_folder(tmp_path)


def test_an_unchanged_result_is_reused_and_a_changed_setting_is_not(run):
    folder = run.folder(Stage.SCORE)
    inputs = read_manifest(folder).inputs
    assert reuse(folder, {"r": 8}, inputs).fresh is False
    assert reuse(folder, {"r": 4}, inputs) is None
    assert reuse(folder, {"r": 8}, {"data": {"path": "x", "sha256": "0"}}) is None


def test_missing_data_outside_the_run_is_told_from_changed(run, tmp_path):
    folder = run.folder(Stage.SCORE)
    (tmp_path / "data.jsonl").write_text("new")
    assert find_changes(folder, read_manifest(folder)) == {"data": "changed"}
    (tmp_path / "data.jsonl").unlink()
    assert find_changes(folder, read_manifest(folder)) == {"data": "missing"}


def test_a_link_in_vain_is_damage_and_no_missing_input(run, tmp_path):
    path = run.folder(Stage.SCORE) / "importance.safetensors"
    path.unlink()
    path.symlink_to(tmp_path / "unplugged")
    (damage,) = run.damage(Stage.SCORE)
    assert damage.found == "is not a file"
    assert run.changed_inputs(Stage.PARTITION) == {"importance": "changed"}
    with pytest.raises(LoraparError, match="is not a file"):
        describe_inputs({"importance": path})


def test_what_may_not_be_read_is_neither_damaged_nor_made_again(run, monkeypatch):
    folder = run.folder(Stage.SCORE)
    inputs = read_manifest(folder).inputs
    forbid(monkeypatch, folder / "importance.safetensors")
    for call in (
        lambda: run.damage(Stage.SCORE),
        lambda: check_written(folder / "importance.safetensors"),
        lambda: reuse(folder, {"r": 8}, inputs),
        lambda: run.require_current(Stage.PARTITION),
    ):
        with pytest.raises(UnreadableError) as caught:
            call()
        assert "importance.safetensors" in caught.value.what
    assert run.changed_inputs(Stage.PARTITION) == {"importance": "unreadable"}
    forbid(monkeypatch, folder)
    for call in (lambda: run.manifest(Stage.SCORE), lambda: reuse(folder, {"r": 8}, inputs)):
        with pytest.raises(UnreadableError):
            call()


def test_a_result_replaced_while_it_is_read_is_not_damaged(run, monkeypatch):
    folder = run.folder(Stage.SCORE)
    real = run_dir_module.find_damage

    def replace_first(where, manifest):
        monkeypatch.setattr(run_dir_module, "find_damage", real)
        (folder / "importance.safetensors").write_text("of the new result")
        write_manifest(folder, Manifest(Stage.SCORE, {"r": 16}))
        return real(where, manifest)

    monkeypatch.setattr(run_dir_module, "find_damage", replace_first)
    assert run.damage(Stage.SCORE) == []


def test_a_file_of_a_result_replaced_meanwhile_is_held_against_the_new_manifest(run, monkeypatch):
    folder = run.folder(Stage.SCORE)
    real = verify.find_damage
    contents = iter(range(10))

    def replace_first(*arguments):
        monkeypatch.setattr(verify, "find_damage", real)
        (folder / "importance.safetensors").write_text(f"new {next(contents)}")
        (folder / "adapter" / "adapter_config.json").write_text("[1]")
        write_manifest(folder, Manifest(Stage.SCORE, {"r": 16}))
        return real(*arguments)

    for check in (check_written, lambda path: check_folder(folder / "adapter")):
        monkeypatch.setattr(verify, "find_damage", replace_first)
        check(folder / "importance.safetensors")
    (folder / "importance.safetensors").write_text("other")
    with pytest.raises(LoraparError):
        check_written(folder / "importance.safetensors")


@pytest.mark.parametrize("content", ['{"name": "extension", "version": 3}', '{"files": []}'])
def test_a_manifest_of_another_program_says_nothing_of_our_files(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    (tmp_path / "mine.jsonl").write_text("a")
    check_written(tmp_path / "mine.jsonl")
    check_folder(tmp_path / "adapter")


@pytest.mark.parametrize("content", ["[]", "null", "{", '{"stage": "score"}', '{"outputs": 3}'])
def test_what_is_left_of_a_manifest_protects_its_files(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    (tmp_path / "mask.safetensors").write_text("a")
    with pytest.raises(LoraparError, match="manifest"):
        check_written(tmp_path / "mask.safetensors")


def test_names_that_are_not_utf8_survive_a_manifest(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.jsonl")
    path.write_text("data")
    folder = tmp_path / "run" / "score"
    folder.mkdir(parents=True)
    write_manifest(folder, Manifest(Stage.SCORE, {}, inputs=describe_inputs({"data": path})))
    manifest = read_manifest(folder)
    assert manifest.inputs["data"]["path"] == str(path)
    assert find_changes(folder, manifest) == {}
    assert b"\\udce9" in (folder / "manifest.json").read_bytes()


def test_a_stage_folder_that_is_a_link_records_inputs_of_its_run(run, tmp_path):
    real = tmp_path / "disk" / "part"
    real.mkdir(parents=True)
    target = run.root / "linked"
    target.symlink_to(real)
    inputs = describe_inputs({"importance": run.folder(Stage.SCORE) / "importance.safetensors"})
    with new_folder(target) as built:
        (built / "mask.safetensors").write_text("mask")
        write_manifest(built, Manifest(Stage.PARTITION, {}, inputs=inputs), target=target)
    assert target.is_symlink()
    assert read_manifest(target).inputs["importance"]["path"] == "score/importance.safetensors"
    assert run.changed_inputs("linked") == {}
    assert sorted(path.name for path in real.parent.iterdir()) == ["part"]


def test_inputs_are_checked_next_to_the_work_on_them(run):
    path = run.folder(Stage.SCORE) / "importance.safetensors"
    with checking({"importance": path}) as pending:
        assert pending.result() == describe_inputs({"importance": path})
    path.write_text("importancE")
    with pytest.raises(LoraparError, match="`score` wrote"), checking({"importance": path}) as it:
        it.result()


def test_damage_explains_whatever_the_work_stumbled_over(run):
    path = run.folder(Stage.SCORE) / "importance.safetensors"
    with pytest.raises(ZeroDivisionError), checking({"importance": path}):
        raise ZeroDivisionError
    path.write_text("importancE")
    with pytest.raises(LoraparError, match="`score` wrote"), checking({"importance": path}):
        raise ZeroDivisionError
    path.unlink()
    with pytest.raises(LoraparError, match="no such file"), checking({"importance": path}):
        raise AssertionError("begun without its input")


def test_pending_inputs_decide_like_known_ones(run):
    folder = run.folder(Stage.PARTITION)
    path = run.folder(Stage.SCORE) / "importance.safetensors"
    with checking({"importance": path}) as pending:
        assert reuse(folder, {"theta": 0.9}, pending).fresh is False
        assert reuse(folder, {"theta": 0.8}, pending) is None
        assert reuse(folder, {"theta": 0.9}, {"importance": {"path": "", "sha256": ""}}) is None

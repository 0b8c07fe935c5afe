"""Manifests: what makes a stage up to date, stale or unfinished."""

import json

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.store.atomic import new_folder
from lorapar_cli.store.manifest import Manifest, read_manifest, write_manifest
from lorapar_cli.store.reuse import describe_inputs, reuse
from lorapar_cli.store.run_dir import RunDir


@pytest.fixture
def stage(tmp_path):
    """A finished partition stage with one input and one output."""
    source = tmp_path / "importance"
    source.write_text("a")
    run = RunDir(tmp_path / "run")
    with new_folder(run.folder(Stage.PARTITION)) as built:
        (built / "mask").write_text("m")
        inputs = describe_inputs({"importance": source})
        write_manifest(built, Manifest(Stage.PARTITION, {"theta": 0.9}, inputs=inputs))
    return run, source, inputs


def test_round_trip(stage):
    run, _, inputs = stage
    manifest = run.manifest(Stage.PARTITION)
    assert manifest.inputs == inputs
    assert manifest.outputs["mask"]["bytes"] == 1
    assert manifest.seconds() >= 0
    assert manifest.libraries["torch"]


def test_a_result_is_reused_for_its_settings_inputs_and_outputs(stage):
    run, source, inputs = stage
    folder = run.folder(Stage.PARTITION)
    outcome = reuse(folder, {"theta": 0.9}, inputs)
    assert (outcome.folder, outcome.fresh) == (folder, False)
    assert outcome.manifest == read_manifest(folder)
    assert reuse(folder, {"theta": 0.8}, inputs) is None
    source.write_text("b")
    assert reuse(folder, {"theta": 0.9}, describe_inputs({"importance": source})) is None
    (folder / "mask").write_text("longer")
    assert reuse(folder, {"theta": 0.9}, inputs) is None
    (folder / "mask").unlink()
    assert reuse(folder, {"theta": 0.9}, inputs) is None
    assert reuse(run.folder(Stage.SCORE), {"theta": 0.9}, inputs) is None


def test_only_deciding_settings_are_compared(stage):
    run, _, inputs = stage
    folder = run.folder(Stage.PARTITION)

    def decides(settings):
        return {name: value for name, value in settings.items() if name != "save_steps"}

    changed = {"theta": 0.9, "save_steps": 3}
    assert reuse(folder, changed, inputs) is None
    assert reuse(folder, changed, inputs, decides) is not None


def test_a_moved_input_of_the_same_content_is_the_same_input(stage, tmp_path):
    run, source, _ = stage
    moved = tmp_path / "elsewhere"
    source.rename(moved)
    inputs = describe_inputs({"importance": moved})
    assert reuse(run.folder(Stage.PARTITION), {"theta": 0.9}, inputs) is not None


def test_changed_and_missing_inputs_make_a_stage_stale(stage):
    run, source, _ = stage
    assert run.changed_inputs(Stage.PARTITION) == {}
    source.write_text("b")
    assert run.changed_inputs(Stage.PARTITION) == {"importance": "changed"}
    with pytest.raises(LoraparError, match="stale"):
        run.require_current(Stage.PARTITION)
    source.unlink()
    assert run.changed_inputs(Stage.PARTITION) == {"importance": "missing"}
    with pytest.raises(LoraparError, match="stale"):
        run.require_current(Stage.PARTITION)


def test_unfinished_and_missing_stages_are_named(tmp_path):
    run = RunDir(tmp_path)
    with pytest.raises(LoraparError) as missing:
        run.require(Stage.SCORE, "importance", "--importance")
    assert "does not exist" in missing.value.found
    assert "lorapar score" in missing.value.hint
    run.folder(Stage.SCORE).mkdir()
    with pytest.raises(LoraparError) as unfinished:
        run.require(Stage.SCORE, "importance", "--importance")
    assert "unfinished" in unfinished.value.found


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}', '{"schema": 99, "stage": "score"}'])
def test_damaged_or_foreign_manifest_is_an_error(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(LoraparError):
        read_manifest(tmp_path)


def test_no_setting_is_lost_on_disk(stage):
    run, _, _ = stage
    content = json.loads((run.folder(Stage.PARTITION) / "manifest.json").read_text())
    assert content["schema"] == 1
    for key in ("settings", "given", "inputs", "outputs", "seed", "libraries", "hardware"):
        assert key in content

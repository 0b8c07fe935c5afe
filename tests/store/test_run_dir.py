"""Folders that a stage may replace: its own results, never something else."""

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Stage
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.run_dir import RunDir


def test_a_named_folder_must_be_new_empty_or_the_stages_own(tmp_path):
    run = RunDir(tmp_path / "run")
    assert run.target(Stage.SCORE, None) == tmp_path / "run" / "score"
    new, empty, own = (tmp_path / name for name in ("new", "empty", "own"))
    empty.mkdir()
    own.mkdir()
    write_manifest(own, Manifest(Stage.SCORE, {}))
    (own / "importance.safetensors").write_bytes(b"earlier")
    for folder in (new, empty, own):
        assert run.target(Stage.SCORE, folder) == folder
    with pytest.raises(LoraparError, match="something other than a result of `partition`"):
        run.target(Stage.PARTITION, own)


def test_what_an_interrupted_classify_left_is_its_own(tmp_path):
    (tmp_path / "votes.jsonl").write_text("")
    assert RunDir(tmp_path / "run").target(Stage.CLASSIFY, tmp_path) == tmp_path


@pytest.mark.parametrize("name", ["thesis.tex", ".git", "votes.jsonl.bak"])
def test_folders_of_somebody_else_are_left_alone(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(LoraparError, match="something other than a result of `score`"):
        RunDir(tmp_path / "run").target(Stage.SCORE, tmp_path)
    with pytest.raises(LoraparError, match="something other than a result of `score`"):
        RunDir(tmp_path / "run").target(Stage.SCORE, tmp_path / name)


@pytest.fixture
def remembered(tmp_path):
    """A function that finishes a stage with a base model and a template; and its run directory."""
    run = RunDir(tmp_path / "run")

    def finish(stage, model=None, template=None):
        folder = run.folder(stage)
        folder.mkdir(parents=True)
        known = None if model is None else {"id": model, "revision": f"revision of {model}"}
        write_manifest(folder, Manifest(stage, {"template": template}, base_model=known))

    return run, finish


def test_the_scored_model_comes_before_the_student_of_classify(remembered):
    run, finish = remembered
    assert run.base_model() is None
    finish(Stage.CLASSIFY, "student")
    assert run.base_model() == "student"
    finish(Stage.SCORE, "scored")
    assert run.base_model() == "scored"


def test_adapters_belong_to_the_known_model_unless_another_is_named(remembered, tmp_path):
    run, finish = remembered
    with pytest.raises(UsageError, match="no base model is known"):
        run.base_of_adapter(None)
    assert run.base_of_adapter("named") == ("named", None)
    folder = tmp_path / "folder"
    finish(Stage.SCORE, str(folder))
    revision = f"revision of {folder}"
    assert run.base_of_adapter(None) == (str(folder), revision)
    assert run.base_of_adapter(str(folder)) == (str(folder), revision)
    assert run.base_of_adapter(str(tmp_path / "." / "folder" / ".." / "folder"))[1] == revision
    assert run.base_of_adapter("other") == ("other", None)


def test_the_template_is_that_of_the_last_stage_that_renders_prompts(remembered):
    run, finish = remembered
    assert run.template() is None
    finish(Stage.SCORE, template="of score")
    finish(Stage.TRAIN_SFT, template="of sft")
    assert run.template() == "of sft"
    assert run.template(Stage.SCORE) == "of score"
    assert run.template(Stage.TRAIN_RL, Stage.SCORE) == "of score"

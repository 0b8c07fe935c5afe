"""Folders that a stage may replace: its own results, never something else."""

import pytest

from lorapar_cli.errors import LoraparError
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
    with pytest.raises(LoraparError, match="something else than a result of `partition`"):
        run.target(Stage.PARTITION, own)


def test_what_an_interrupted_classify_left_is_its_own(tmp_path):
    (tmp_path / "votes.jsonl").write_text("")
    assert RunDir(tmp_path / "run").target(Stage.CLASSIFY, tmp_path) == tmp_path


@pytest.mark.parametrize("name", ["thesis.tex", ".git", "votes.jsonl.bak"])
def test_folders_of_somebody_else_are_left_alone(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(LoraparError, match="something else"):
        RunDir(tmp_path / "run").target(Stage.SCORE, tmp_path)
    with pytest.raises(LoraparError, match="something else"):
        RunDir(tmp_path / "run").target(Stage.SCORE, tmp_path / name)

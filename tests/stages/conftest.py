"""A run directory that is scored and partitioned, for the stages that come after."""

import shutil

import pytest

from lorapar_cli.hub.models import find_base_model
from lorapar_cli.names import Stage, System
from lorapar_cli.stages.partition import PartitionOptions, partition
from lorapar_cli.stages.score import ScoreOptions, score
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.publish import new_folder
from lorapar_cli.store.records import write_records
from lorapar_cli.store.rundir import RunDir


def write_splits(run_dir: RunDir, records, model: str) -> None:
    """Writes what `classify` leaves, from records that are labelled already."""
    with new_folder(run_dir.folder(Stage.CLASSIFY)) as built:
        write_records(built / "labels.jsonl", records)
        for system in System:
            half = [record for record in records if record.label is system]
            write_records(built / f"{system.value}.jsonl", half)
        write_records(built / "heldout.jsonl", records[:4])
        base = find_base_model(model).to_manifest()
        write_manifest(built, Manifest(Stage.CLASSIFY, {}, base_model=base))


@pytest.fixture(scope="session")
def partitioned(tmp_path_factory, tiny_model_dir, labelled_records) -> RunDir:
    """A run directory up to and with `partition`; copy it before you write to it."""
    run_dir = RunDir(tmp_path_factory.mktemp("runs") / "partitioned")
    write_splits(run_dir, labelled_records, str(tiny_model_dir))
    score(run_dir, ScoreOptions(r=4, lora_alpha=8, dtype="float32"))
    partition(run_dir, PartitionOptions(theta=0.6))
    return run_dir


@pytest.fixture
def run_dir(partitioned, tmp_path) -> RunDir:
    """A fresh copy of the partitioned run directory."""
    copy = RunDir(tmp_path / "run")
    shutil.copytree(partitioned.root, copy.root)
    return copy

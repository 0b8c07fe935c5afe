"""Labelled splits, and a run directory that is scored and partitioned, for later stages."""

import json
import shutil
from functools import cache

import pytest

from lorapar_cli.models.base_model import find_base_model
from lorapar_cli.names import Artifact, Stage, System
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import partition
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.score import score
from lorapar_cli.store.atomic import new_folder
from lorapar_cli.store.disk.digests import sha256_file
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.records import write_records
from lorapar_cli.store.run_dir import RunDir


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


def hold_out(run_dir: RunDir, records) -> None:
    """Replaces the records that `classify` has held out."""
    folder = run_dir.folder(Stage.CLASSIFY)
    path, manifest = folder / Artifact.HELD_OUT, folder / Artifact.MANIFEST
    write_records(path, records)
    content = json.loads(manifest.read_text())
    described = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    content["outputs"][Artifact.HELD_OUT.value] = described
    manifest.write_text(json.dumps(content))


@pytest.fixture(scope="session")
def splits(tmp_path_factory, labelled_records):
    """A folder with both splits of the labelled records and nothing else."""
    folder = tmp_path_factory.mktemp("splits")
    for system in System:
        half = [record for record in labelled_records if record.label is system]
        write_records(folder / f"{system.value}.jsonl", half)
    return folder


@pytest.fixture(scope="session")
def partitioned(tmp_path_factory, tiny_model_dir, labelled_records):
    """A function from an init to a run directory up to `partition`; copy before you write."""

    @cache
    def make(init: str) -> RunDir:
        run_dir = RunDir(tmp_path_factory.mktemp("runs") / init)
        write_splits(run_dir, labelled_records, str(tiny_model_dir))
        scale = 0.01 if init == "gaussian" else None
        score(
            run_dir,
            ScoreOptions(
                r=4,
                lora_alpha=8,
                dtype="float32",
                init=init,
                init_scale=scale,
                quantize="4bit" if init == "loftq" else None,
            ),
        )
        partition(run_dir, PartitionOptions(theta=0.6))
        return run_dir

    return make


@pytest.fixture
def make_run(partitioned, tmp_path):
    """A function from an init to a fresh copy of its partitioned run directory."""

    def make(init: str) -> RunDir:
        copy = RunDir(tmp_path / "run")
        shutil.copytree(partitioned(init).root, copy.root)
        return copy

    return make


@pytest.fixture
def run_dir(make_run) -> RunDir:
    """A fresh copy of a run directory scored with the default init and partitioned."""
    return make_run("orthogonal")

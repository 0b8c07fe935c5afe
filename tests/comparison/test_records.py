"""Which records cells train on, choose rates on and are measured on."""

import json

import pytest

from lorapar_cli.comparison.records import prepare_records
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage, System
from lorapar_cli.store.records import read_records, write_records


@pytest.fixture
def measured(tmp_path):
    path = tmp_path / "measured.jsonl"
    rows = [
        {
            "id": f"m{n}",
            "prompt": f"What is {n} times 3?",
            "completion": f"#### {3 * n}",
            "label": s,
        }
        for n, s in enumerate(["system1", "system2", "system1"])
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_all_parts_are_apart_and_complete(run_dir, tmp_path, measured):
    made = prepare_records(run_dir, tmp_path / "compare", str(measured), 0.25, 0)
    validation = {record.id for record in read_records(made.validation)}
    for system in System:
        whole = {r.id for r in read_records(run_dir.folder(Stage.CLASSIFY) / f"{system}.jsonl")}
        kept = {r.id for r in read_records(made.folder / f"{system}.jsonl")}
        assert kept | (validation & whole) == whole
        assert not kept & validation
        assert len(validation & whole) == 3
    assert [r.id for r in read_records(made.held_out)] == ["m0", "m1", "m2"]
    again = prepare_records(run_dir, tmp_path / "compare", str(measured), 0.25, 0)
    assert again == made
    other = prepare_records(run_dir, tmp_path / "compare", str(measured), 0.25, 1)
    assert other.digest != made.digest


def test_measuring_on_training_records_is_refused(run_dir, tmp_path):
    # The run's held-out file repeats four of its training records.
    with pytest.raises(LoraparError, match="4 records to measure on are training records"):
        prepare_records(run_dir, tmp_path / "compare", None, 0.25, 0)


def test_records_without_a_system_are_refused(run_dir, tmp_path):
    path = tmp_path / "plain.jsonl"
    path.write_text('{"id": "x", "question": "What is 7 times 9?", "answer": "#### 63"}\n')
    with pytest.raises(LoraparError, match=r"record `x` of .* has no system"):
        prepare_records(run_dir, tmp_path / "compare", str(path), 0.25, 0)


def test_nothing_held_out_is_said(run_dir, tmp_path):
    write_records(run_dir.folder(Stage.CLASSIFY) / "heldout.jsonl", [])
    with pytest.raises(LoraparError, match="no held-out records") as refused:
        prepare_records(run_dir, tmp_path / "compare", None, 0.25, 0)
    assert "--holdout" in refused.value.hint

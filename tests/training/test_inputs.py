"""Records to train on: what is read, what is replayed, what is said."""

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import System
from lorapar_cli.store.records import Record, write_records
from lorapar_cli.training.inputs import read_training_records


def write(path, system, count):
    records = [Record(f"{system}-{row}", "p", "c", label=system) for row in range(count)]
    write_records(path, records)
    return path


@pytest.mark.parametrize(("share", "there", "replayed"), [(0.3, 90, 30), (0.9, 12, 12)])
def test_the_share_that_is_replayed_is_the_one_asked_for_or_said(tmp_path, share, there, replayed):
    files = {
        "system1": write(tmp_path / "1.jsonl", System.SYSTEM1, 70),
        "system2": write(tmp_path / "2.jsonl", System.SYSTEM2, there),
    }
    notes = []
    records = read_training_records(files, share, 0, notes)
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

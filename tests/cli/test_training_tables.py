"""What the training commands show of a dry run and of a result."""

import pytest

from lorapar_cli.cli.training_tables import dry_run_tables, records_trained_on, training_rows
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.stage_records.training import DryRunRecord, TrainingRecord
from lorapar_cli.store.manifest import Manifest
from tests.cli.shown import shown, training_manifest


def test_a_dry_run_shows_steps_rates_and_memory():
    manifest = Manifest(Stage.TRAIN_SFT, {})
    manifest.keep(
        DryRunRecord(
            {"records": {"system1": 9}, "trained_records": 1234, "elements": 200, "active": 50},
            {
                "processes": 2,
                "engine": "one process or data parallel",
                "steps": 1500,
                "learning_rates": {0: 0.0, 75: 2e-4},
                "bytes": {"base model": 3 * 2**20, "adapter": 2**19},
            },
        )
    )
    text = shown(dry_run_tables(manifest))
    for part in (
        *("nothing was trained or written", "1,234", "1,500", "50 of 200"),
        *("learning rate, step 76", "0.0002", "memory, base model", "3.0 MiB", "0.5 MiB"),
    ):
        assert part in text


@pytest.mark.parametrize(
    ("data", "records", "title", "row"),
    [
        ("system1", {"system1": 5000, "system2": 0}, "System-1 records", "5,000 system1"),
        ("system2", {"system1": 0, "system2": 7}, "System-2 records", "7 system2"),
        ("all", {"system1": 5, "system2": 7}, "all records", "5 system1, 7 system2"),
        ("mine.jsonl", {"system1": 0, "system2": 0}, "mine.jsonl", "1,234"),
    ],
)
def test_title_and_row_tell_what_was_trained_on(data, records, title, row):
    manifest = training_manifest(Stage.TRAIN_SFT, data, records)
    rows = dict(training_rows(manifest, manifest.record(TrainingRecord)))
    assert records_trained_on(manifest) == title
    assert rows["records"] == row
    assert rows["active elements"] == "1 of 2 (50.0%)"
    assert rows["frozen that moved"] == "0 (checked bit by bit)"


def test_a_manifest_that_lacks_a_count_is_an_error():
    manifest = training_manifest(Stage.TRAIN_SFT, "all", {})
    del manifest.counts["active_moved"]
    with pytest.raises(LoraparError, match="manifest of `train-sft`") as caught:
        manifest.record(TrainingRecord)
    assert "`counts.active_moved` is missing" in caught.value.found

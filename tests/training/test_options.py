"""Which settings of a training stage decide its adapter."""

import dataclasses

import pytest

from lorapar_cli.training.options import RlOptions, SftOptions, deciding


def decided(options) -> dict:
    return deciding(dataclasses.asdict(options))


@pytest.mark.parametrize(
    "change",
    [
        {"save_steps": 7},
        {"report_to": "wandb"},
        {"patience_steps": 3},
        {"training": ("run_name=x", "log-level=info", "logging_steps=5")},
    ],
)
def test_what_is_written_beside_the_result_decides_nothing(change):
    assert decided(dataclasses.replace(RlOptions(), **change)) == decided(RlOptions())


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(SftOptions)])
def test_every_other_setting_decides(field):
    if field in ("save_steps", "report_to"):
        return
    changed = dataclasses.replace(SftOptions(), **{field: ("weight=1",)})
    assert decided(changed) != decided(SftOptions())


def test_patience_decides_where_it_ends_the_run():
    stopping = RlOptions(stop_without_spread=True)
    assert decided(stopping) != decided(dataclasses.replace(stopping, patience_steps=3))
    assert decided(RlOptions(training=("seed=3", "run_name=x")))["training"] == ["seed=3"]

"""The paper's tables: one sweep each, and what is kept of its result."""

import json

import pytest

from evidence import paper_tables
from evidence.studies import run_study
from lorapar_cli.errors import LoraparError

RESULT = {
    "title": "Order",
    "seeds": [0],
    "layout": {"rows": ["order"], "columns": [], "figures": {"first": "SFT"}},
    "note": "",
    "table": [{"labels": {"order": "a"}, "mean": {"first": 1.0}, "deviation": {}, "published": {}}],
    "cells": [{"labels": {"order": "a"}, "seed": 0, "figures": {"first": 1.0}, "steps": ["many"]}],
}


def study(tmp_path):
    return paper_tables.tables_study(tmp_path / "work", 1, 1, lambda _: None, tmp_path / "grids")


@pytest.fixture
def swept(tmp_path, monkeypatch):
    """Stands in for the command; returns the grids that it was run on."""
    (tmp_path / "grids").mkdir()
    (tmp_path / "grids" / "table7.yaml").write_text("grid: {}")
    seen = []

    def sweep(grid, out, seeds, jobs):
        seen.append((grid.name, seeds, jobs))
        (out / f"{grid.stem}-embedded").mkdir(parents=True)
        (out / f"{grid.stem}-embedded" / "results.json").write_text(json.dumps(RESULT))

    monkeypatch.setattr(paper_tables, "sweep", sweep)
    return seen


def test_table_and_layout_are_kept(tmp_path, swept):
    for _ in range(2):
        path = run_study(study(tmp_path), tmp_path / "work", tmp_path, print, ["table7"])
    found = json.loads(path.read_text())
    assert swept == [("table7.yaml", 1, 1)]
    assert found["units"]["table7"]["result"] == {
        **{key: value for key, value in RESULT.items() if key != "cells"},
        "by_seed": [{"labels": {"order": "a"}, "seed": 0, "figures": {"first": 1.0}}],
    }
    assert len(found["unfinished"]) == 7


def test_a_grid_that_is_not_there(tmp_path, swept):
    with pytest.raises(LoraparError, match="does not exist"):
        run_study(study(tmp_path), tmp_path / "work", tmp_path, print, ["table1"])


def test_a_sweep_that_fails_is_no_result(tmp_path):
    (tmp_path / "bad.yaml").write_text("nonsense: 1")
    with pytest.raises(LoraparError, match=r"`lorapar sweep bad.yaml` ended with"):
        paper_tables.sweep(tmp_path / "bad.yaml", tmp_path / "out", 1, 1)

"""The grids of the paper's tables: valid for both models, complete, and run in a tiny version."""

from pathlib import Path

import pytest
import yaml

from lorapar_cli.comparison.sweep.grid_file import read_grid_file
from lorapar_cli.comparison.sweep.layout import table_lines
from lorapar_cli.comparison.sweep.options import SweepOptions
from lorapar_cli.comparison.sweep.sweep import open_plan, sweep

GRIDS = sorted((Path(__file__).parents[3] / "sample_configs" / "paper").glob("*.yaml"))
NAMES = [path.stem for path in GRIDS]
# Cells for the real model and for the embedded one, and published figures.
SIZES = {
    "figure4": (3, 1, 3),
    "table1": (6, 5, 6),
    "table2": (9, 9, 18),
    "table3": (39, 39, 69),
    "table4": (32, 8, 60),
    "table5": (7, 6, 12),
    "table6": (11, 11, 22),
    "table7": (2, 2, 4),
}


def plan_of(path, tmp_path, **changes):
    stated = {"grid": path, "out": tmp_path, "allow_code_execution": True}
    return open_plan(SweepOptions(**(stated | changes)))


def test_there_is_a_grid_for_each_table():
    assert set(NAMES) == set(SIZES)


@pytest.mark.parametrize("path", GRIDS, ids=NAMES)
def test_a_grid_is_valid_for_both_models(path, tmp_path):
    real, tiny, published = SIZES[path.stem]
    plan = plan_of(path, tmp_path)
    assert len(plan.cells) == real
    assert len(plan_of(path, tmp_path, embedded=True).cells) == tiny
    spec = plan.file.table
    assert sum(len(each.figures) for each in spec.published) == published
    # Each published figure is one of a column, and belongs to one cell alone.
    assert all(set(each.figures) <= set(spec.figures) for each in spec.published)
    places = [tuple(sorted(each.labels.items())) for each in spec.published]
    assert len(set(places)) == len(places)
    own = [tuple(sorted(each.cell.labels.items())) for each in plan.cells]
    assert set(places) <= set(own)


TINY = {
    "classify": {"limit": 120},
    "score": {"samples": 8},
    "train-sft": {"max_steps": 1},
    "train-rl": {"max_steps": 1, "per_device_batch_size": 32, "max_completion_length": 24},
    "eval": {"limit": 16, "max_new_tokens": 24},
}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem == "figure4" else pytest.mark.slow)
        for path in GRIDS
    ],
)
def test_a_tiny_version_runs(path, tmp_path):
    content = yaml.safe_load(path.read_text())
    content["embedded"] = content.get("embedded", {}) | TINY
    grid = tmp_path / path.name
    grid.write_text(yaml.safe_dump(content, sort_keys=False))
    plan = plan_of(grid, tmp_path / "out", embedded=True)
    result = sweep(plan)
    assert [row["failed"] for row in result["cells"] if "failed" in row] == []
    wanted = set(plan.file.table.figures) - {"second" if path.stem in ("table4", "table5") else ""}
    for row in result["cells"]:
        assert wanted <= set(row["figures"])
    heads, rows = table_lines(result, plan.file.table)
    assert len(heads) > len(plan.file.table.figures)
    if path.stem == "figure4":
        picture = plan.stages / result["cells"][0]["picture"]
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert f"](../stages/{picture.relative_to(plan.stages)})" in (
            plan.folder / "sweep.md"
        ).read_text(encoding="utf-8")
    # Every published figure is in the table beside ours.
    shown = [text for row in rows for text in row]
    for each in read_grid_file(path).table.published:
        for value in each.figures.values():
            assert f"{value:g}" in shown


def test_virtual_tokens_and_ia3_are_trained_by_peft(tmp_path):
    """One cell of Table 6 each, in the default tests."""
    from lorapar_cli.models.adapter import read_adapter_config

    content = yaml.safe_load(next(p for p in GRIDS if p.stem == "table6").read_text())
    content["rows"] = [{**row, "order": "sft"} for row in content["rows"][:4]]
    content["embedded"] = TINY
    content.pop("table")
    grid = tmp_path / "peft.yaml"
    grid.write_text(yaml.safe_dump(content, sort_keys=False))
    result = sweep(plan_of(grid, tmp_path / "out", embedded=True))
    kinds = []
    for row in result["cells"]:
        assert "failed" not in row
        (trained,) = [s["folder"] for s in row["steps"] if s["folder"].startswith("train-peft")]
        config = read_adapter_config(tmp_path / "out" / "stages" / trained / "adapter")
        kinds.append(config.peft_type.value)
    assert kinds == ["PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "IA3"]

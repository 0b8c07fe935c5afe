"""What cells start from: masks of equal size, whatever the run's cut was."""

import pytest

from lorapar_cli.comparison.grid import open_grid
from lorapar_cli.comparison.options import CompareOptions
from lorapar_cli.comparison.starts import active_counts, find_start, selected
from lorapar_cli.names import Flag, Stage
from lorapar_cli.store.mask_file import active_elements, read_mask
from tests.comparison.small_data import write_products


@pytest.fixture
def open_with(run_dir, tmp_path):
    """A function from a section `partition` to the comparison of the run under it."""
    write_products(tmp_path / "measured.jsonl", 4, 3)

    def make(section: str):
        (tmp_path / "config.yaml").write_text(f"partition: {section}\n")
        return open_grid(
            run_dir,
            CompareOptions(data=str(tmp_path / "measured.jsonl"), config=tmp_path / "config.yaml"),
        )

    return make


@pytest.mark.parametrize(
    "section",
    ["{theta: 0.8}", "{budget: 300}", "{theta_s1: 0.4, theta_s2: 0.9}", "{budget_s1: 5%}"],
)
def test_rivals_have_as_many_elements_as_the_mask(open_with, section):
    grid = open_with(section)
    wanted = active_counts(grid, grid.cell("paper"))
    assert min(wanted.values()) > 0
    for name in ("random", "bottom"):
        assert active_counts(grid, grid.cell(name)) == wanted, name


def test_the_least_important_elements_are_none_of_the_most_important(open_with):
    grid = open_with("{theta: 0.3}")
    masks = {
        name: active_elements(read_mask(selected(grid, grid.cell(name), 0)[0])[0], Flag.SFT)
        for name in ("paper", "bottom")
    }
    assert not any((masks["paper"][name] & masks["bottom"][name]).any() for name in masks["paper"])


def test_only_random_masks_depend_on_the_seed(open_with):
    grid = open_with("{theta: 0.5}")

    def masks(name):
        return {find_start(grid, grid.cell(name), Stage.TRAIN_SFT, s, None).mask for s in (1, 2)}

    assert {name: len(masks(name)) for name in ("paper", "bottom", "random", "full")} == {
        "paper": 1,
        "bottom": 1,
        "random": 2,
        "full": 1,
    }

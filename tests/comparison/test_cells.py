"""Cells: built-in ones, and those of a YAML file."""

import re
from pathlib import Path

import pytest

from lorapar_cli.comparison.cells import BUILT_IN, choose_cells, read_cells, read_sections
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Stage


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "cells.yaml"
        path.write_text(text)
        return path

    return write


def test_all_built_in_cells_without_a_choice():
    assert [cell.name for cell in choose_cells(())] == list(BUILT_IN)


def test_the_guide_lists_cells_in_the_order_in_which_time_is_given_to_them():
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "compare.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", guide, re.MULTILINE) == list(BUILT_IN)


def test_names_leave_out_the_others_in_the_order_of_priority():
    assert [cell.name for cell in choose_cells(("full", "paper"))] == ["paper", "full"]


def test_a_file_adds_to_the_built_in_cells(write):
    path = write(
        "half: {partition: {theta: 0.5}}\nwide:\n  trains: all\n  train-sft: {replay: 0.2}\n"
    )
    cells = choose_cells((str(path),))
    assert [cell.name for cell in cells] == [*BUILT_IN, "half", "wide"]
    half, wide = cells[-2:]
    assert half.settings(Stage.PARTITION) == {"theta": 0.5}
    assert half.settings(Stage.TRAIN_SFT) == {}
    assert (wide.trains, wide.settings(Stage.TRAIN_SFT)) == ("all", {"replay": 0.2})
    assert [cell.name for cell in choose_cells(("random", str(path)))] == ["random", "half", "wide"]


def test_values_become_those_of_the_options(write):
    (cell,) = read_cells(
        write(
            "a:\n  train_sft: {learning-rate: 1e-3}\n  score: {target_modules: [q_proj, v_proj]}\n"
        )
    )
    assert cell.settings(Stage.TRAIN_SFT) == {"learning_rate": 0.001}
    assert cell.settings(Stage.SCORE) == {"target_modules": ("q_proj", "v_proj")}


def test_a_rank_is_plain_lora(write):
    (cell,) = read_cells(write("r2: {rank: 2}\n"))
    assert (cell.trains, cell.rank) == ("rank", 2)


def test_every_mistake_of_a_file_in_one_message(write):
    path = write(
        "a: {partition: {thetta: 0.5}, trains: none}\n"
        "b: {partitions: {theta: 0.5}}\n"
        "c: {partition: {theta: 1.5}, rank: 0}\n"
        "d: [1]\n"
        "e: {train-sft: {out: /elsewhere}, rank: true, trains: all}\n"
        "f: {train-rl: {find-lr: true}}\n"
    )
    with pytest.raises(UsageError) as refused:
        read_cells(path)
    for part in (
        "`a.partition.thetta` is unknown, did you mean `theta`?",
        "`a.trains` is 'none', not `selected` or `all`",
        "`b.partitions` is unknown, did you mean `partition`?",
        "must be above 0 and at most 1, not 1.5",
        "`c.rank` is 0, not from 1 to 65,536",
        "`e` has both `trains` and `rank`",
        "`d` is not a mapping",
        "`e.train-sft.out` cannot be set here: the command decides it",
        "`f.train-rl.find-lr` cannot be set here: the command decides it",
        "`e.rank` is True, not a whole number",
    ):
        assert part in refused.value.found, part


@pytest.mark.parametrize(
    ("named", "part"),
    [
        (("papre",), "did you mean `paper`"),
        (("nothing.yaml",), "no such file"),
    ],
)
def test_unknown_names_are_refused(named, part):
    with pytest.raises(Exception, match=part):
        choose_cells(named)


@pytest.mark.parametrize("text", ["", "- paper\n", "paper: {}\n", "a: {b: [\n"])
def test_files_that_have_no_cells_are_refused(write, text):
    with pytest.raises(LoraparError, match=r"no cells|not a mapping|not valid YAML|is taken"):
        choose_cells((str(write(text)),))


def test_sections_of_a_run_configuration(write):
    path = write("model: embedded\nclassify: {teachers: [a]}\npartition: {theta: 0.4}\ntrain_rl:\n")
    assert read_sections(path) == {Stage.PARTITION: {"theta": 0.4}}
    with pytest.raises(UsageError, match="cannot be used"):
        read_sections(write("train-sft: {learning_rat: 1}\n"))

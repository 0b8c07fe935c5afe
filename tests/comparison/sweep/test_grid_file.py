"""Grid files: what they mean, and every mistake of a file in one message."""

from pathlib import Path

import pytest

from lorapar_cli.comparison.sweep.cells import make_cells
from lorapar_cli.comparison.sweep.checks import plan_cells
from lorapar_cli.comparison.sweep.grid_file import read_grid_file
from lorapar_cli.comparison.sweep.steps import steps_of
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import TARGET_MODULES, Stage


@pytest.fixture
def read(tmp_path):
    """A function from the text of a grid to its content."""

    def read(text):
        path = tmp_path / "grid.yaml"
        path.write_text(text)
        return read_grid_file(path)

    return read


@pytest.fixture
def cells(read, tmp_path):
    """A function from the text of a grid to its cells, on the embedded model or another."""

    def make(text, embedded=False, seeds=(0,)):
        data = tmp_path / "embedded.jsonl" if embedded else None
        return make_cells(read(text), "a-model", data, seeds)

    return make


def sections(cell):
    return {stage.value: dict(settings) for stage, settings in cell.sections.items()}


def test_lists_are_crossed_and_short_names_are_options(cells):
    found = cells("grid: {theta: [0.5, 1], targets: [QKV, [up_proj]]}\ninit: pissa\n", seeds=(0, 7))
    assert [(cell.labels, cell.seed) for cell in found[:4]] == [
        ({"theta": theta, "targets": targets}, 0)
        for theta in ("0.5", "1")
        for targets in ("QKV", "up_proj")
    ]
    # All cells of a seed come before those of the next one.
    assert [cell.seed for cell in found] == [0] * 4 + [7] * 4
    assert sections(found[0])["partition"] == {"theta": 0.5}
    assert sections(found[0])["score"] == {"init": "pissa", "target_modules": TARGET_MODULES[:3]}
    assert sections(found[1])["score"]["target_modules"] == ("up_proj",)
    assert found[0].name == "theta 0.5, targets QKV, seed 0"


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("{figures: 3}", "`table.figures` is 3, not figures"),
        ("{figures: .nan}", "`table.figures` is nan, not figures"),
        ("{published: [{theta: 0.5, first: .nan}]}", "`table.published[1].first` is nan"),
        ("{published: [{theta: 0.5, first: true}]}", "`table.published[1].first` is True"),
    ],
)
def test_a_table_of_other_kinds_of_values_is_refused(read, table, problem):
    with pytest.raises(UsageError) as caught:
        read(f"grid: {{theta: [0.5]}}\ntable: {table}\n")
    assert problem in caught.value.found


def test_the_name_of_a_cell_is_on_one_line(cells):
    assert cells('rows: [{name: "a\\nerror: b"}]')[0].name == "a\\nerror: b, seed 0"


def test_sections_and_options_by_their_place(cells):
    (first, second) = cells(
        "train_sft: {epochs: 2}\ngrid: {train-sft.learning-rate: [1e-4, 0.1]}\nmodel: other\n"
    )
    assert sections(first)["train-sft"] == {"epochs": 2, "learning_rate": 1e-4}
    assert sections(second)["train-sft"]["learning_rate"] == 0.1
    assert first.model == "a-model"


def test_named_values_and_rows_with_axes_of_their_own(cells):
    found = cells(
        """
grid:
  data: {A: {classify: {data: a.jsonl}}, B: {classify: {data: b.jsonl}, eval: {task: mmlu}}}
  theta: [0.1, 0.2]
rows:
  - {name: all}
  - {name: few, select: random, grid: {theta: [0.9]}}
"""
    )
    assert len(found) == 4 + 2
    assert found[-1].labels == {"row": "few", "data": "B", "theta": "0.9"}
    assert sections(found[-1]) == {
        "classify": {"data": ("b.jsonl",)},
        "eval": {"task": "mmlu"},
        "partition": {"select": "random", "theta": 0.9},
    }
    assert found[-1].name == "few, data B, theta 0.9, seed 0"


@pytest.mark.parametrize(
    ("splitter", "wanted"),
    [
        ("random", {"strategy": "random"}),
        ("rules", {"teachers": ("rules-operations", "rules-cues", "rules-shape")}),
        ("[qwq, r1]", {"teachers": ("qwq", "r1")}),
        ("all", {"strategy": "random"}),
    ],
)
def test_splitters(cells, splitter, wanted):
    (cell,) = cells(f"classify: {{data: d.jsonl, teachers: [x]}}\nsplitter: {splitter}\n")
    assert sections(cell)["classify"] == {"data": ("d.jsonl",)} | wanted
    everything = cell.section(Stage.TRAIN_RL).get("data") == "all"
    assert everything == (splitter == "all")


def test_labels_of_the_data_or_of_a_file(cells):
    (own, named) = cells(
        "classify: {data: d.jsonl}\ngrid: {splitter: [labels, 'labels:l.jsonl']}\n"
    )
    assert str(sections(own)["classify"]["review"]) == "d.jsonl"
    assert str(sections(named)["classify"]["review"]) == "l.jsonl"


def test_sections_are_of_the_real_model_and_settings_of_both(cells):
    text = """
train-rl: {max_steps: 7}
theta: 0.4
embedded: {score: {samples: 9}, alpha: 0.5}
rows:
  - {name: both, score: {r: 3}}
  - {name: real, embedded: false}
  - {name: tiny, embedded: only}
  - {name: other, splitter: [qwq], embedded: {splitter: rules}}
"""
    real, tiny = cells(text), cells(text, embedded=True)
    assert [cell.labels["row"] for cell in real] == ["both", "real", "other"]
    assert [cell.labels["row"] for cell in tiny] == ["both", "tiny", "other"]
    assert sections(real[0])["score"] == {"r": 3}
    assert sections(real[0])["train-rl"] == {"max_steps": 7}
    assert sections(real[2])["classify"]["teachers"] == ("qwq",)
    own = sections(tiny[0])
    assert own["score"] == {"samples": 9}
    assert own["train-rl"]["max_steps"] == 60
    assert own["train-rl"]["replay"] == 0
    assert own["partition"]["theta"] == 0.4
    assert own["partition"]["alpha"] == 0.5
    assert len(sections(tiny[2])["classify"]["teachers"]) == 3
    assert tiny[0].model == "embedded"


def kinds(cell):
    found = steps_of(cell, Path("stages"), code=False, trust=False)
    return [step.kind for step in found.steps]


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ("method: base", ["classify", "eval"]),
        ("order: none", ["classify", "score", "partition"]),
        (
            "method: lora\norder: sft",
            ["classify", "score", "train-sft", "eval", "eval"],
        ),
        (
            "method: ia3",
            ["classify", "train-peft", "train-peft", "eval", "eval", "eval"],
        ),
        (
            "order: rl-sft\nalpha: 0",
            [
                *("classify", "score", "partition", "train-rl"),
                *("partition", "train-sft", "eval", "eval", "eval"),
            ],
        ),
    ],
)
def test_steps_of_methods_and_orders(cells, settings, wanted):
    (cell,) = cells(f"classify: {{data: d.jsonl, teachers: [rules-shape]}}\n{settings}\n")
    assert kinds(cell) == wanted


def test_stages_go_on_from_one_another_in_their_order(cells):
    (cell,) = cells(
        "classify: {data: d.jsonl, teachers: [rules-shape]}\norder: rl-sft\nmethod: lora\n"
    )
    found = steps_of(cell, Path("stages"), code=False, trust=False)
    by_key = {step.key: step for step in found.steps}
    first, second = (by_key[key] for key in found.trained)
    assert (first.kind, second.kind) == ("train-rl", "train-sft")
    assert "start" not in first.needs
    assert second.needs["start"] == first.key
    assert by_key[found.evaluated["first"]].needs["adapter"] == first.key


def test_twice_sft_is_one_training_of_twice_the_length(cells):
    (cell,) = cells(
        "classify: {data: d.jsonl, teachers: [rules-shape]}\norder: sft-sft\nmethod: lora\n"
    )
    found = steps_of(cell, Path("stages"), code=False, trust=False)
    lengths = [step.options().epochs for step in found.steps if step.kind == "train-sft"]
    assert lengths == [1, 2]
    assert all("start" not in step.needs for step in found.steps)


def test_equal_numbers_are_equal_settings(cells):
    one, other = (
        cells(f"classify: {{data: d.jsonl, teachers: [rules-shape]}}\ntheta: {text}\n")[0]
        for text in ("1", "1.0")
    )
    keys = [
        steps_of(cell, Path("stages"), code=False, trust=False).trained for cell in (one, other)
    ]
    assert keys[0] == keys[1]


def test_a_changed_file_is_another_step(cells, tmp_path):
    data = tmp_path / "d.jsonl"
    text = f"classify: {{data: {data}, teachers: [rules-shape]}}\n"
    data.write_text("{}\n")
    before = steps_of(cells(text)[0], Path("stages"), code=False, trust=False).trained
    data.write_text("{} \n")
    assert steps_of(cells(text)[0], Path("stages"), code=False, trust=False).trained != before


def test_every_problem_is_in_one_message(read):
    with pytest.raises(UsageError) as caught:
        read(
            """
tilte: x
seeds: 0
thetta: 0.5
theta: 2
score: {inti: pissa}
train-sft: 3
train-rl: false
grid:
  alhpa: [0, 1]
  beta: 0.5
  alpha: [0, 0]
  method: [lora, lora-parr]
  data: {A: {clasify: {}}}
  scoer.r: [1]
  '': {A: {alpha: 1}}
rows:
  - {select: random}
  - {name: one, embedded: maybe}
  - {name: one, order: sft-then-rl, beta: 1, grid: {beta: [1]}}
table:
  rows: [alpha, gamma]
  figures: {frist: SFT}
  published: [{alpha: 7, second: high}]
"""
        )
    for part in (
        "`tilte` is unknown, did you mean `title`?",
        "`seeds` is 0, not a number of seeds",
        "`thetta` is unknown, did you mean `theta`?",
        "`theta`: `--theta` must be above 0 and at most 1, not 2",
        "`score.inti` is unknown, did you mean `init`?",
        "`train-sft` is not a mapping",
        "`train-rl` is not a mapping",
        "`grid.alhpa` is unknown, did you mean `alpha`?",
        "`grid.beta` is 0.5, not a list of values",
        "`grid.alpha` has 0 twice",
        "`grid.method`: 'lora-parr' is none of",
        "`grid.data.A.clasify` is unknown, did you mean `classify`?",
        "`grid` has an axis without a name",
        "no stage is `scoer`, did you mean `score`?",
        "`rows[1].name` is None, not the name of a row",
        "`rows[2].embedded` is 'maybe'",
        "two rows are named `one`",
        "`rows[3].order`: 'sft-then-rl' is none of",
        "row `one` has a `beta`, which is an axis too",
        "`table.rows`: no axis is `gamma`",
        "`table` has no place for",
        "no figure is `frist`, did you mean `first`?",
        "`alpha` has no `7`",
        "`table.published[1].second` is 'high', not a number",
    ):
        assert part in caught.value.found, part


@pytest.mark.parametrize("text", ["- 1\n", "a: [1", "grid: {seed: [1]}", "rows: 3", "table: 3"])
def test_what_is_no_grid_is_refused(read, text):
    with pytest.raises(LoraparError):
        read(text)


DATA = "classify: {data: d.jsonl, teachers: [rules-shape]}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (DATA + "method: ia3\norder: sft-rl\n", "`ia3` is trained by SFT only"),
        (DATA + "method: p-tuning\ntrain-sft: {quantize: 4bit}\n", "without `quantize`"),
        ("classify: {data: d.jsonl}\n", "no teachers"),
        ("theta: 0.5\n", "there is no data"),
        (DATA.replace("}", ", holdout: 0}"), "there is nothing to evaluate on"),
    ],
)
def test_settings_that_do_not_fit_name_the_cell(cells, text, problem):
    with pytest.raises(UsageError) as caught:
        plan_cells(cells(text), Path("stages"), code=False, trust=False)
    assert caught.value.found.startswith("cell `seed 0`: ")
    assert problem in caught.value.found


def test_problems_of_several_cells_are_in_one_message(cells):
    text = DATA + "method: ia3\ngrid: {order: [sft, rl, sft-rl], score.r: [1, 2]}\n"
    with pytest.raises(UsageError) as caught:
        plan_cells(cells(text), Path("stages"), code=False, trust=False)
    # One line for each problem, with the first cell that has it.
    assert len(caught.value.found.splitlines()) == 2
    assert "order rl, score.r 1, seed 0" in caught.value.found


def test_a_grid_without_a_model_is_refused(read):
    with pytest.raises(UsageError, match="names no base model"):
        make_cells(read("theta: 0.5\n"), None, None, (0,))


@pytest.mark.parametrize("seeds", ["1001", "1000000000000", str([*range(1001)])])
def test_more_seeds_than_anybody_trains_are_refused(read, seeds):
    with pytest.raises(UsageError) as caught:
        read(f"seeds: {seeds}\n")
    assert "not a number of seeds, at most 1,000, or a list" in caught.value.found


def test_more_cells_than_can_be_made_are_refused_before_they_are(read):
    many = [*range(1, 1001)]
    file = read(
        f"grid: {{score.r: {many}, score.samples: {many[1:]}, score.max-length: {many[1:]}}}"
    )
    with pytest.raises(UsageError) as caught:
        make_cells(file, "a-model", None, (0, 1))
    assert caught.value.what.endswith("has more than 5,000 cells")
    assert caught.value.found.endswith(
        "998,001,000 combinations with 2 seeds each are 1,996,002,000"
    )


def test_cells_of_rows_are_counted_by_the_axes_that_they_have(cells):
    text = f"grid: {{score.r: {[*range(1, 101)]}}}\nrows: [{{name: a}}, {{name: b, grid: {{score.r: [1]}}}}]"
    assert len(cells(text, seeds=range(49))) == 49 * 101
    with pytest.raises(UsageError, match="more than 5,000 cells"):
        cells(text, seeds=range(50))


def test_a_long_axis_is_read_in_no_time_whatever_is_given_twice(read):
    values = [number % 10_000 for number in range(20_000)]
    with pytest.raises(UsageError) as caught:
        read(f"grid: {{score.seed-of-nothing: [1], score.max-length: {values}}}")
    assert "`grid.score.max-length` has 9999 twice" in caught.value.found

"""The JSON schemas of YAML files: as generated, and of one mind with the commands."""

import json
from pathlib import Path

import pytest
import typer
import yaml

from lorapar_cli.cli import main
from lorapar_cli.cli.config import OPTIONS, _plan_step, plan_steps
from lorapar_cli.comparison.sweep.grid_file import read_grid_file
from lorapar_cli.errors import UsageError
from lorapar_cli.names import Stage
from tests.json_schema import problems

ROOT = Path(main.__file__).parents[2]
FOLDER = ROOT / "lorapar_cli" / "cli" / "schemas"
SAMPLES = ROOT / "sample_configs"
RUNS = [path for path in sorted(SAMPLES.glob("*.yaml")) if not path.stem.startswith("accelerate")]
GRIDS = sorted((SAMPLES / "paper").glob("*.yaml"))
RUN = json.loads((FOLDER / "run.schema.json").read_text(encoding="utf-8"))
SWEEP = json.loads((FOLDER / "sweep.schema.json").read_text(encoding="utf-8"))
WITH_DATA = {"classify": {"data": "d.jsonl", "teachers": "rules-cues"}}
VALUES = [
    *(True, False, "text", "two words", "a=1", "", "1", "1e-4", "0.5", "-3"),
    *(-1, 0, 1, 0.5, 3.0, 10**9, 10**30, -0.5),
    *(
        [],
        ["a"],
        [1],
        [0.5],
        [1, 2],
        ["a=1"],
        [["a"]],
        [{"a": 1}],
        [True],
        [None],
        {},
        {"a": 1},
        {"a": [1]},
    ),
]


@pytest.fixture(scope="module")
def commands():
    main.register()
    return typer.main.get_command(main.app).commands


@pytest.mark.parametrize(
    ("schema", "path"),
    [(RUN, path) for path in RUNS] + [(SWEEP, path) for path in GRIDS],
    ids=lambda each: each.name if isinstance(each, Path) else "",
)
def test_sample_configurations_fit(schema, path):
    assert problems(schema, yaml.safe_load(path.read_text(encoding="utf-8"))) == []


def refused(stage: Stage, commands, section: dict) -> bool:
    found: list[str] = []
    try:
        step = _plan_step(stage, section, commands[stage.value], {}, found)
    except UsageError:
        return True
    return step is None or bool(found)


@pytest.mark.parametrize("stage", list(Stage))
def test_the_schema_refuses_nothing_that_run_takes(commands, stage):
    """For every option and many values, wrong ones of every kind among them."""
    section = RUN["properties"][stage.value.replace("-", "_")]["properties"]
    assert len(section) > len(OPTIONS[stage].__dataclass_fields__) - 1
    wrong, both = [], 0
    for key in section:
        for value in VALUES:
            own = WITH_DATA.get(stage.value, {}) | {key: value}
            unfit = problems(RUN, WITH_DATA | {stage.value: own})
            no = refused(stage, commands, own)
            both += bool(unfit) and no
            if unfit and not no:
                wrong.append((key, value, unfit))
    assert [each[:2] for each in wrong] == []
    assert both > 5 * len(section)


@pytest.mark.parametrize(
    "content",
    [
        {"clasify": {}},
        {"score": {"smaples": 3}},
        {"score": {"samples": "many"}},
        {"score": {"samples": 0}},
        {"score": {"samples": 1.5}},
        {"score": {"dtype": "float8"}},
        {"score": {"dtype": ["float32"]}},
        {"partition": {"theta": [0.5]}},
        {"classify": None},
        {"classify": {}},
        {"score": {"samples": {"a": 1}}},
        {"score": {"plot": 1}},
        {"partition": {"theta": 1.5}},
        {"partition": {"plot": "yes"}},
        {"train-sft": {"learning_rate": -1}},
        {"train_sft": {"epochs": [[1]]}},
        {"train-rl": []},
        {"train-rl": {"training": {"a": 1}, "num-generations": "eight"}},
        {"eval": 3},
        {"model": [["a"]]},
        {"seed": "x"},
        {"trust_remote_code": "yes"},
    ],
    ids=json.dumps,
)
def test_both_refuse_what_is_wrong(commands, content):
    content = WITH_DATA | content
    assert problems(RUN, content)
    with pytest.raises(UsageError):
        plan_steps(content, commands, {"run_dir": None})


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"score": None, "seed": None},
        {"train-sft": {"learning-rate": "1e-4", "training": {"a": [1]}}},
        {"train_sft": {"learning_rate": 1e-4, "training": ["a=1", "b=2"]}},
        {"train-sft": {"training": "weight_decay=0.1"}},
        {"classify": {"data": ["a.jsonl", "b.jsonl"], "teachers": "a,b"}},
        {"train-rl": {"rewards": ["answer=1", "format=0.1"], "json": True}},
    ],
    ids=json.dumps,
)
def test_both_take_what_is_right(commands, content):
    content = WITH_DATA | content
    assert problems(RUN, content) == []
    assert len(plan_steps(content, commands, {"run_dir": "x"})) == len(Stage)


def test_a_text_for_a_repeatable_option_is_one_of_them(commands):
    (step,) = [
        each
        for each in plan_steps(
            WITH_DATA | {"train-sft": {"training": "weight_decay=0.1"}}, commands, {}
        )
        if each.stage is Stage.TRAIN_SFT
    ]
    assert list(step.context.params["training"]) == ["weight_decay=0.1"]


def test_teachers_are_known_fields():
    good = {"base_url": "http://h/v1", "model": "m", "price": {"input": 1, "output": 2}}
    assert problems(RUN, WITH_DATA | {"teachers": {"mine": good}}) == []
    assert problems(RUN, WITH_DATA | {"teachers": {"mine": good | {"key": "x"}}})
    assert problems(RUN, WITH_DATA | {"teachers": {"mine": good | {"max_tokens": 0}}})


@pytest.mark.parametrize(
    "content",
    [
        {"gird": {"alpha": [1]}},
        {"grid": {"alpha": []}},
        {"grid": {"alpha": [1]}, "theta": 2},
        {"grid": {"alpha": [1]}, "score": {"model": "x"}},
        {"grid": {"alpha": [1]}, "score": {"samples": "many"}},
        {"grid": {"alpha": [1]}, "score.samples": "many"},
        {"grid": {"alpha": [1]}, "method": "lorra"},
        {"grid": {"alpha": [1]}, "seeds": 0},
        {"grid": {"alpha": [1]}, "seeds": [1, 1]},
        {"grid": {"alpha": [1]}, "seeds": 1001},
        {"grid": {"alpha": [1]}, "virtual-tokens": 10_001},
        {"grid": {"data": {"A": {"clasify": {}}}}},
        {"rows": [{"theta": 0.9}]},
        {"rows": [{"name": "a", "embedded": True}]},
        {"rows": []},
        {"grid": {"alpha": [1]}, "table": {"figures": ["last"]}},
        {"grid": {"alpha": [1]}, "table": {"rwos": ["alpha"]}},
    ],
    ids=json.dumps,
)
def test_both_refuse_what_is_wrong_in_a_grid(tmp_path, content):
    assert problems(SWEEP, content)
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError):
        read_grid_file(tmp_path / "grid.yaml")


def test_both_refuse_more_seeds_than_anybody_trains(tmp_path):
    content = {"grid": {"alpha": [1]}, "seeds": [*range(1001)]}
    assert problems(SWEEP, content)
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError):
        read_grid_file(tmp_path / "grid.yaml")


@pytest.mark.parametrize(
    "content",
    [
        {"grid": {"alpha": [0, 1], "score.samples": [2, 3]}, "init_scale": 0.01},
        {"rows": [{"name": 1, "targets": "QKV", "embedded": False}], "seeds": [3, 4]},
        {"grid": {"data": {"A": {"train-sft": {"learning_rate": "1e-4"}}, "B": None}}},
        {"rows": [{"name": "a", "train-sft.learning-rate": 3.0e-2, "splitter": ["qwq"]}]},
    ],
    ids=json.dumps,
)
def test_both_take_what_is_right_in_a_grid(tmp_path, content):
    assert problems(SWEEP, content) == []
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(content))
    read_grid_file(tmp_path / "grid.yaml")

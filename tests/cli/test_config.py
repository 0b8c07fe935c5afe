"""`lorapar run`: configurations are checked against the commands' own options, all at once."""

from pathlib import Path

import pytest
import typer

from lorapar_cli.cli import main
from lorapar_cli.cli.config import plan_steps, read_config
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Stage

SAMPLES = Path(__file__).parents[2] / "sample_configs"


@pytest.fixture(scope="module")
def commands():
    main.register()
    return typer.main.get_command(main.app).commands


MINIMAL = {"model": "embedded", "classify": {"data": "d.jsonl", "teachers": ["a", "b"]}}


def test_values_reach_the_commands_as_if_typed(commands):
    config = MINIMAL | {
        "run_dir": "r",
        "seed": 3,
        "partition": {"theta": 0.7},
        "train_sft": {"learning_rate": 0.01, "training": {"lr_scheduler_kwargs": {"a": 1}}},
        "train-rl": {"gradient-checkpointing": True},
    }
    steps = {step.stage: step.context.params for step in plan_steps(config, commands, {})}
    assert list(steps) == list(Stage)
    assert steps["classify"]["teachers"] == "a,b"
    assert steps["partition"]["theta"] == 0.7
    assert steps["train-sft"]["seed"] == 3
    assert tuple(steps["train-sft"]["training"]) == ('lr_scheduler_kwargs={"a": 1}',)
    assert steps["train-rl"]["gradient_checkpointing"] is True
    assert {str(params["run_dir"]) for params in steps.values()} == {"r"}


def test_every_problem_is_in_one_message(commands):
    config = MINIMAL | {
        "modle": "x",
        "partition": {"thetta": 0.9, "alpha": 1},
        "train_sft": {"epochs": -1},
        "score": {"r": "eight", "sampels": 10, "max_length": 4.5},
        "eval": 3,
    }
    with pytest.raises(UsageError) as caught:
        plan_steps(config, commands, {})
    for part in (
        "`modle` is unknown, did you mean `model`?",
        "`partition.thetta` is unknown, did you mean `theta`?",
        "--epochs",
        "`score.sampels` is unknown, did you mean `samples`?",
        "'eight'",
        "`score`: Invalid value for '--max-length': '4.5'",
        "`eval` is not a mapping",
    ):
        assert part in caught.value.found


def test_missing_data_is_named(commands):
    with pytest.raises(UsageError) as caught:
        plan_steps({"classify": {"teachers": "a"}}, commands, {})
    assert "data" in caught.value.found.lower()


def test_given_run_dir_takes_precedence_over_the_file(commands):
    steps = plan_steps(MINIMAL | {"run_dir": "file"}, commands, {"run_dir": Path("line")})
    assert {str(step.context.params["run_dir"]) for step in steps} == {"line"}


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "\xff"])
def test_a_file_that_is_not_a_mapping_is_refused(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(LoraparError):
        read_config(path)


# Those of accelerate are read by accelerate (tests/training/test_train_sharded.py).
RUNS = sorted(path for path in SAMPLES.glob("*.yaml") if not path.name.startswith("accelerate-"))


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_sample_configs_are_valid(commands, path):
    assert len(plan_steps(read_config(path), commands, {})) == len(Stage)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("train-sft: {training: {neftun_noise_alpha: 5}}", "did you mean `neftune_noise_alpha`"),
        ("train-sft: {learning_rate: 1e-3, training: {learning_rate: 1e-3}}", "are both given"),
        ("train-rl: {rewards: answr}", "unknown reward `answr`"),
        ("train-rl: {rewards: code}", "--allow-code-execution"),
        ("train-rl: {num_generations: 7}", "do not divide into groups of 7"),
        ("train-rl: {optimizer: adamw}", "adamw"),
        ("train-sft: {report_to: wandbb}", "unknown tracker `wandbb`"),
        ("teachers: {own: {base_url: 'http://h/v1'}}", "lacks `model`"),
        ("teachers: [own]", "no mapping `teachers:`"),
    ],
)
def test_mistakes_are_found_before_the_first_stage(tmp_path, capsys, section, message):
    (tmp_path / "data.jsonl").write_text('{"prompt": "1+1?", "completion": "2"}\n')
    config = tmp_path / "run.yaml"
    config.write_text(
        f"run_dir: {tmp_path / 'run'}\nmodel: embedded\n"
        f"classify: {{data: {tmp_path / 'data.jsonl'}, teachers: [rules-shape]}}\n{section}\n"
    )
    for options in ([], ["--dry-run"]):
        with pytest.raises(SystemExit) as ended:
            main.main(["run", str(config), *options])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_unknown_teacher_is_found_before_the_first_stage(tmp_path, capsys):
    config = tmp_path / "run.yaml"
    config.write_text(
        f"run_dir: {tmp_path / 'run'}\nmodel: embedded\n"
        "classify: {data: d.jsonl, teachers: [student, own, nobody]}\n"
        "teachers: {own: {base_url: 'http://h/v1', model: m}}\n"
    )
    with pytest.raises(SystemExit) as ended:
        main.main(["run", str(config), "--dry-run"])
    assert ended.value.code == 2
    assert "unknown teacher `nobody`" in capsys.readouterr().err


@pytest.mark.parametrize(("init", "warned"), [("pissa", True), ("orthogonal", False)])
def test_an_init_that_rl_collapses_on_is_named_before_the_first_stage(
    tmp_path, capsys, init, warned
):
    (tmp_path / "data.jsonl").write_text('{"prompt": "1+1?", "completion": "2"}\n')
    config = tmp_path / "run.yaml"
    config.write_text(
        f"run_dir: {tmp_path / 'run'}\nmodel: embedded\nscore: {{init: {init}}}\n"
        f"classify: {{data: {tmp_path / 'data.jsonl'}, teachers: [rules-shape]}}\n"
    )
    with pytest.raises(SystemExit) as ended:
        main.main(["run", str(config), "--dry-run"])
    assert ended.value.code == 0
    assert ("arXiv 2512.23165" in capsys.readouterr().err) is warned


@pytest.mark.parametrize("value", [{"q_proj"}, b"q_proj", ["q_proj", {"k_proj"}]])
def test_values_that_nobody_can_type_are_refused(commands, value):
    with pytest.raises(UsageError) as caught:
        plan_steps(MINIMAL | {"score": {"target-modules": value}}, commands, {})
    assert "`score.target-modules` is " in caught.value.found


def test_a_key_in_two_spellings_is_refused(commands):
    config = MINIMAL | {"run_dir": "a", "run-dir": "b", "score": {"max_length": 1, "max-length": 2}}
    with pytest.raises(UsageError) as caught:
        plan_steps(config, commands, {})
    assert "`run-dir` occurs twice" in caught.value.found
    assert "`score.max-length` occurs twice" in caught.value.found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"model: a\nmodel: b\n", "run.yaml:2"),
        (b"\xff\xfea\0", "not UTF-8"),
        (b"a: [" * 3000, "nested too deeply"),
        (b"", "not a mapping"),
    ],
)
def test_a_file_that_cannot_be_read_is_explained(tmp_path, content, said):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(LoraparError) as caught:
        read_config(path)
    assert said in str(caught.value)


def test_a_date_and_broken_yaml_in_training_are_told_apart(commands):
    with pytest.raises(UsageError, match="not followed by a YAML value"):
        plan_steps(MINIMAL | {"train_sft": {"training": ["a=[b"]}}, commands, {})

"""`lorapar status`: what it says of finished, stale, unfinished and missing stages."""

import json
import shlex
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import typer

from lorapar_cli.cli.main import app, main, register
from lorapar_cli.names import Stage
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.reuse import describe_inputs
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.tools.next_step import NextStep, next_step
from lorapar_cli.tools.run_status import run_status
from tests.cli.command_line import printed


@pytest.fixture
def root(tmp_path):
    """A run directory with a finished, a stale, an unfinished stage, and two evaluations."""
    root = tmp_path / "run"
    source = tmp_path / "data.jsonl"
    for stage, text in ((Stage.CLASSIFY, "a"), (Stage.SCORE, "b")):
        source.write_text(text)
        folder = root / stage
        folder.mkdir(parents=True)
        counts = {"records": 12_345, "by_kind": {}, "too_long": 1}
        inputs = describe_inputs({"data": source})
        write_manifest(folder, Manifest(stage, {}, inputs=inputs, counts=counts))
    (root / Stage.TRAIN_SFT).mkdir()
    for name in ("test", "unfinished"):
        (root / Stage.EVAL / name).mkdir(parents=True)
    write_manifest(root / Stage.EVAL / "test", Manifest(Stage.EVAL, {}, counts={"items": 3}))
    return root


@pytest.fixture
def status(capfd):
    return partial(printed, capfd, "status")


def test_each_stage_has_its_state(root, status):
    rows = json.loads(status("--run-dir", root, "--json"))
    assert [(row["stage"], row["state"], row["what"]) for row in rows] == [
        ("classify", "stale", "input `data` has changed"),
        ("score", "done", "12,345 records, 1 too long"),
        ("partition", "missing", ""),
        ("train-sft", "unfinished", ""),
        ("train-rl", "missing", ""),
        ("eval/test", "done", "3 items"),
        ("eval/unfinished", "unfinished", ""),
    ]
    assert rows[0]["finished"] is not None
    assert rows[0]["seconds"] >= 0
    assert rows[2]["finished"] is rows[2]["seconds"] is None


def test_the_table_has_a_row_per_stage(root, status):
    out = status("--run-dir", root)
    for words in ("classify", "stale", "eval/test", "12,345 records"):
        assert words in out


def test_a_long_name_is_shown_whole_and_stays_in_its_row(root, status):
    name = "a" * 60 + "\nerror: " + "b" * 60
    (root / Stage.EVAL / name).mkdir()
    lines = status("--run-dir", root).splitlines()
    (end,) = [line.index("state") for line in lines if line.split()[:2] == ["stage", "state"]]
    cells = [line[:end].strip() for line in lines]
    assert f"eval/{'a' * 60}\\nerror: {'b' * 60}".replace(" ", "") in "".join(cells).replace(
        " ", ""
    )


def test_it_fits_80_columns_and_names_the_next_command(root, status, capfd):
    assert max(map(len, status("--run-dir", root).splitlines())) <= 80
    with pytest.raises(SystemExit):
        main(["status", "--run-dir", str(root)])
    assert (
        f"next: lorapar classify DATA --teachers a,b,c --run-dir {root}" in capfd.readouterr().err
    )


@pytest.mark.parametrize("finished", [(), (Stage.CLASSIFY,), tuple(Stage)[:-1], tuple(Stage)])
def test_json_has_the_next_command_that_is_printed(tmp_path, capfd, finished):
    run = RunDir(tmp_path / "a run")
    run.root.mkdir()
    for stage in finished:
        counts = {"system1": 0, "system2": 9, "heldout": 0}
        _write(run, "eval/mine" if stage is Stage.EVAL else stage, settings={}, counts=counts)
    with pytest.raises(SystemExit):
        main(["status", "--run-dir", str(run.root), "--json"])
    rows = json.loads(capfd.readouterr().out)
    with pytest.raises(SystemExit):
        main(["status", "--run-dir", str(run.root)])
    printed_lines = capfd.readouterr().err.splitlines()
    (named,) = [row for row in rows if "next" in row]
    assert f"next: {named['next']}" in printed_lines
    assert [f"      {named['why']}"] == printed_lines[-1:] if "why" in named else True
    assert named is next((row for row in rows if row["state"] != "done"), rows[-1])


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ({}, None),
        ({"score": "stale"}, "lorapar score --run-dir r"),
        (
            {"train-sft": "stale", "train-rl": "missing"},
            "lorapar train-sft --overwrite --run-dir r",
        ),
        ({"train-rl": "unfinished"}, "lorapar train-rl --run-dir r"),
        ({"eval/a b": "damaged"}, "lorapar eval --name 'a b' --run-dir r"),
        ({"eval/a b": "unfinished"}, "lorapar eval --name 'a b' --run-dir r"),
    ],
)
def test_the_next_command_is_that_of_the_first_stage_that_is_not_done(states, words):
    names = ["classify", "score", "partition", "train-sft", "train-rl", "eval/a b"]
    rows = [
        {
            "stage": name,
            "state": states.get(name, "done"),
            "finished": None if states.get(name) in ("missing", "unfinished") else "2026",
            "seconds": None,
            "what": "",
        }
        for name in names
    ]
    step = next_step(RunDir(Path("r")), rows)
    assert (None if step is None else step.command) == words
    if step is not None:
        register()
        _, command, *rest = shlex.split(step.command)
        known = typer.main.get_command(app).commands[command].params
        flags = {flag for each in known for flag in each.opts}
        assert {word for word in rest if word.startswith("--")} <= flags
    resumed = "unfinished" in states.values()
    assert step is None or ("begun with" in step.why) == resumed


def _next(run):
    return next_step(run, run_status(run))


def _write(run, stage, given=(), **content):
    folder = run.folder(stage)
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, Manifest(str(stage).partition("/")[0], given=list(given), **content))


def _labelled(run, **counts):
    _write(run, Stage.CLASSIFY, settings={}, counts={"system1": 9, "system2": 9} | counts)


@pytest.mark.parametrize(
    ("finished", "counts", "needs"),
    [
        ([], {"system1": 0}, "no record is system1, and `score` needs some: label more data"),
        ([], {"system2": 0}, "no record is system2, and `score` needs some: label more data"),
        ([Stage.SCORE, Stage.PARTITION], {"system1": 0}, "and `train-sft` needs some"),
        ([Stage.SCORE, Stage.PARTITION, Stage.TRAIN_SFT], {"system2": 0}, "`train-rl` needs"),
    ],
)
def test_a_system_without_records_needs_other_labels_first(tmp_path, finished, counts, needs):
    run = RunDir(tmp_path)
    _labelled(run, **counts)
    for stage in finished:
        _write(run, stage, settings={})
    step = _next(run)
    assert step.command == f"lorapar classify DATA --teachers a,b,c --run-dir {tmp_path}"
    assert needs in step.why


def test_a_stage_that_does_not_read_the_empty_split_is_next_as_ever(tmp_path):
    run = RunDir(tmp_path)
    _labelled(run, system2=0)
    for stage in (Stage.SCORE, Stage.PARTITION):
        _write(run, stage, settings={})
    assert _next(run) == NextStep(f"lorapar train-sft --run-dir {tmp_path}")


@pytest.mark.parametrize("made", [False, True])
def test_without_held_out_records_eval_needs_data(tmp_path, made):
    run = RunDir(tmp_path)
    _labelled(run, heldout=0)
    for stage in list(Stage)[1:-1]:
        _write(run, stage, settings={})
    if made:
        run.folder(Stage.EVAL).mkdir()
    wanted = f"lorapar eval --data YOURS.jsonl --run-dir {tmp_path}"
    assert _next(run) == NextStep(wanted, "no records are held out")


def test_a_stage_is_repeated_with_the_options_that_it_was_given(tmp_path):
    """Its result took hours with these: the defaults would replace it by another one."""
    run, data = RunDir(tmp_path / "a run"), tmp_path / "my data.jsonl"
    data.write_text("{}")
    _labelled(run)
    (run.root / "own.bin").write_text("1")
    for stage in list(Stage)[1:-1]:
        _write(run, stage, settings={})
    given = {"learning_rate": 0.5, "epochs": 2.0, "lora_dropout": 0.0, "watch": None}
    given |= {"packing": False, "liger": True, "forgetting": False}
    inputs = describe_inputs({"mask": run.root / "own.bin"})
    _write(run, Stage.TRAIN_SFT, ["run_dir", *given], settings=given, inputs=inputs)
    (run.root / "own.bin").write_text("2")
    root = f"--run-dir '{run.root}'"
    options = "--learning-rate 0.5 --epochs 2.0 --lora-dropout 0.0 --liger --no-forgetting"
    step = _next(run)
    assert sorted(step.command.split(" --")) == sorted(
        f"lorapar train-sft {options} --overwrite {root}".split(" --")
    )
    _write(run, Stage.TRAIN_SFT, settings={})
    inputs = describe_inputs({"data": data})
    _write(run, "eval/mine", ["data"], settings={}, inputs=inputs)
    data.write_text("changed")
    wanted = f"lorapar eval --data '{data}' --name mine {root}"
    assert _next(run) == NextStep(wanted)


def test_an_unfinished_training_is_repeated_with_the_options_that_it_was_begun_with(tmp_path):
    run = RunDir(tmp_path / "run")
    for stage in (Stage.CLASSIFY, Stage.SCORE, Stage.PARTITION):
        _write(run, stage, settings={}, counts={"system1": 9, "system2": 9})
    folder = run.folder(Stage.TRAIN_SFT)
    folder.mkdir()
    settings = {"epochs": 8.0, "learning_rate": 2e-4, "model": "embedded", "find_lr": True}
    settings |= {"template_arg": ["thinking=false"], "seed": 0, "training": []}
    record = folder / "unfinished.json"
    record.write_text(json.dumps({"settings": settings, "inputs": {}}))
    command = shlex.split(_next(run).command)
    assert command[:2] == ["lorapar", "train-sft"]
    assert {"--epochs 8.0", "--find-lr", "--template-arg thinking=false"} <= {
        *command,
        *(f"{one} {other}" for one, other in pairwise(command)),
    }
    assert not {"--learning-rate", "--model", "--seed", "--training"} & {*command}
    for damaged in ("[]", "{", '{"settings": 3}'):
        record.write_text(damaged)
        assert _next(run).command == f"lorapar train-sft --run-dir {shlex.quote(str(run.root))}"

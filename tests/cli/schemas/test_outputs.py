"""What each command prints with `--json` is what its schema says, and no key more."""

import json
import os
import re
from pathlib import Path
from typing import NotRequired, TypedDict

import pytest
import typer

from lorapar_cli.cli import main
from lorapar_cli.cli.schemas.from_types import Definitions
from lorapar_cli.cli.schemas.outputs import OUTPUTS
from tests.json_schema import problems, unfit
from tests.tools.inspecting.artifacts import write_run

QUICK = ["--per-device-batch-size", "8", "--gradient-accumulation", "1", "--max-steps", "1"]
RL = [*QUICK, "--num-generations", "8", "--max-completion-length", "8"]
RULES = ["--teachers", "rules-cues,rules-shape"]
GRID = {
    "model": "embedded",
    "classify": {"data": "data.jsonl"},
    "splitter": "rules",
    "grid": {"alpha": [0, 1]},
}
# So that the completions of a group differ in it, whatever an untrained model writes.
REWARD = (
    "def spread(completions, **_):\n    return [float(n % 2) for n, _ in enumerate(completions)]\n"
)
# The stages of one run on the embedded model, and what reads them; `train-rl` follows `train-sft`.
COMMANDS = {
    "classify --dry-run": ["classify", "data.jsonl", *RULES, "--dry-run"],
    "classify": ["classify", "data.jsonl", *RULES, "--model", "embedded"],
    "score": ["score", "--samples", "8"],
    "partition --sweep": ["partition", "--sweep", "0.5,0.9"],
    "partition": ["partition"],
    "train-sft --dry-run": ["train-sft", *QUICK, "--dry-run"],
    "train-sft": ["train-sft", *QUICK, "--eval-steps", "1"],
    "train-rl --dry-run": ["train-rl", *RL, "--dry-run"],
    "train-rl": ["train-rl", *RL, "--rewards", "own.spread=1"],
    "eval": ["eval", "--limit", "4", "--max-new-tokens", "8"],
    "eval show": ["eval", "show"],
    "eval compare": ["eval", "compare", "lorapar-run", "lorapar-run", "--show", "2"],
    "sweep --dry-run": ["sweep", "grid.yaml", "--dry-run"],
    "status": ["status"],
    "inspect": ["inspect", "lorapar-run"],
    "teachers": ["teachers"],
    "doctor": ["doctor"],
    "doctor --model": ["doctor", "--model", "embedded"],
    "recipes": ["recipes"],
    "init": ["init", "--recipe", "own-data"],
    "--version": ["--version"],
}
# Those that train many cells: their own tests hold their results against the schema.
ELSEWHERE = {"compare", "sweep"}


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Command -> exit code and what it printed, in one folder and in order."""
    folder = tmp_path_factory.mktemp("outputs")
    rows = []
    for n in range(1, 41):
        if n % 2:
            rows.append({"question": f"How much is {n} plus 2?", "answer": f"#### {n + 2}"})
        else:
            asked = (
                f"Tom has {n} apples, buys 2 bags of 3 apples each and then gives half of all his "
                "apples to Ann. How many apples does he have left in total?"
            )
            rows.append({"question": asked, "answer": f"{n}+6={n + 6}.\n#### {(n + 6) // 2}"})
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "own.py").write_text(REWARD)
    (folder / "grid.yaml").write_text(json.dumps(GRID))
    here = Path.cwd()
    os.chdir(folder)
    found = {}
    try:
        for name, words in COMMANDS.items():
            found[name] = _run([*words, "--json"])
    finally:
        os.chdir(here)
    return found


def _run(words: list[str]) -> tuple[int, str]:
    """Returns exit code and stdout, also of what is written to the file descriptor."""
    kept = os.dup(1)
    with open("stdout.txt", "w+", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("sys.stdout", os.fdopen(os.dup(1), "w", encoding="utf-8"))
                with pytest.raises(SystemExit) as ended:
                    main.main(words)
                main.sys.stdout.flush()
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        file.seek(0)
        return ended.value.code, file.read()


def test_every_command_with_json_has_a_schema():
    main.register()
    commands = typer.main.get_command(main.app).commands
    having = {
        name
        for name, command in commands.items()
        if any("--json" in parameter.opts for parameter in command.params)
    }
    assert {re.sub(r" ?--.*", "", output.command) for output in OUTPUTS} - {""} == having
    assert {output.command for output in OUTPUTS} == {*COMMANDS, *ELSEWHERE}


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: output.command)
def test_the_output_fits_its_schema(printed, output):
    if output.command in ELSEWHERE:
        return
    code, text = printed[output.command]
    # `doctor` finds what a machine lacks, and prints its findings all the same.
    assert code == 0 or output.command == "doctor"
    value = json.loads(text)
    assert unfit(output.name, value) == []
    assert isinstance(value, list) == output.many
    assert all(each["schema"] == 1 for each in (value if output.many else [value]))
    assert value


@pytest.mark.parametrize(
    "name",
    [
        *("train-sft/adapter", "classify", "classify/labels.jsonl", "eval/test/results.json"),
        *("compare", "sweep", ".", "eval", "merged", "merged/config.json", "begun"),
    ],
)
def test_each_artifact_fits_the_schema_of_inspect(tmp_path, capfd, name):
    with pytest.raises(SystemExit):
        main.main(["inspect", str(write_run(tmp_path / "run") / name), "--json"])
    assert unfit("inspect", json.loads(capfd.readouterr().out)) == []


def test_a_wrong_output_does_not_fit():
    row = {"schema": 1, "stage": "score", "state": "done", "finished": None, "seconds": 1.0}
    assert unfit("status", [row | {"what": ""}]) == []
    for wrong in ({"what": 1}, {"what": "", "more": 1}, {"what": "", "schema": 2}, {}):
        assert unfit("status", [row | wrong])
    assert unfit("status", row)


class Inner(TypedDict):
    """A record within."""

    values: list[int] | None


class Outer(TypedDict):
    """A record.

    Keys:
        inner: Another one,
            in two lines.
    """

    inner: Inner
    by_name: NotRequired[dict[str, float]]


def test_records_become_schemas():
    definitions = Definitions()
    assert definitions.of(Outer | None) == {
        "anyOf": [{"$ref": "#/definitions/Outer"}, {"type": "null"}]
    }
    outer = definitions.found["Outer"]
    assert outer["required"] == ["inner"]
    assert outer["properties"]["inner"] == {
        "description": "Another one, in two lines.",
        "anyOf": [{"$ref": "#/definitions/Inner"}],
    }
    root = outer | {"definitions": definitions.found}
    assert problems(root, {"inner": {"values": None}, "by_name": {"a": 1}}) == []
    assert problems(root, {"inner": {"values": ["a"]}})
    with pytest.raises(TypeError):
        definitions.of(print)

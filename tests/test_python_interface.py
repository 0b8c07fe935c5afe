"""The stages as functions: `from lorapar_cli import score, ScoreOptions, ...`."""

import inspect
import json
import os
import re
import subprocess
import sys
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path

import pytest

import lorapar_cli
from lorapar_cli import OFFERED
from lorapar_cli.embedded.corpus import training_records
from tests.cli.command_line import lorapar

ROOT = Path(lorapar_cli.__file__).parents[1]
STAGES = {
    "classify": "ClassifyOptions",
    "score": "ScoreOptions",
    "partition": "PartitionOptions",
    "train_sft": "SftOptions",
    "train_rl": "RlOptions",
    "evaluate": "EvalOptions",
    "compare": "CompareOptions",
}


@pytest.mark.parametrize("name", OFFERED)
def test_every_name_that_is_offered_is_there_and_documented(name):
    assert name in dir(lorapar_cli)
    found = getattr(import_module(OFFERED[name]), name)
    assert found.__doc__
    # The wing of this name stands before the function once any of its modules is imported.
    if name != "partition":
        assert getattr(lorapar_cli, name) is found


@pytest.mark.parametrize(("stage", "options"), STAGES.items())
def test_a_stage_takes_a_run_directory_and_its_options(stage, options):
    function = getattr(import_module(OFFERED[stage]), stage)
    parameters = inspect.get_annotations(function, eval_str=False)
    assert [*parameters][:2] == ["run_dir", "options"]
    taken = inspect.get_annotations(function, eval_str=True)
    assert taken["options"] is getattr(lorapar_cli, options)
    assert is_dataclass(taken["options"])
    assert taken["run_dir"] is lorapar_cli.RunDir


def test_a_name_that_is_not_offered_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute `clasify`"):
        _ = lorapar_cli.clasify


LAZY = """
import sys
import lorapar_cli
assert not {"torch", "typer", "rich", "numpy"} & set(sys.modules)
"""


def block_of(page: str) -> str:
    """Returns the first block of Python of a page."""
    return re.search(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL).group(1)


def test_the_documented_script_runs_and_the_command_line_knows_its_results(tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in training_records(0, 20)))
    script = tmp_path / "notebook.py"
    script.write_text(LAZY + block_of("docs/reference/python.md"))
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "shared" in done.stdout
    assert done.stderr == ""
    shown = lorapar(tmp_path, "status", "--json", PYTHONPATH=path)
    states = {stage["stage"]: stage["state"] for stage in json.loads(shown.stdout)}
    assert [states[stage] for stage in ("classify", "score", "partition")] == ["done"] * 3
    assert states.get("train-sft") != "done"


def test_the_version_for_a_bug_report_is_json(tmp_path):
    shown = lorapar(tmp_path, "--version", "--json", PYTHONPATH=str(ROOT))
    found = json.loads(shown.stdout)
    assert [*found] == ["schema", "lorapar", "python", "platform", "libraries"]
    assert found["lorapar"] == lorapar_cli.__version__
    assert found["libraries"]["torch"]
    refused = lorapar(tmp_path, "--json", "doctor", PYTHONPATH=str(ROOT))
    assert refused.returncode == 2
    assert "belongs to `--version`" in refused.stderr


def test_all_names_are_there_with_one_import():
    names: dict = {}
    exec("from lorapar_cli import *", names)
    assert OFFERED.keys() == names.keys() - {"__builtins__"}

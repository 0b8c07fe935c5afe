"""`lorapar partition` and `lorapar inspect` as commands: what they print, and what they import."""

import json
import subprocess
import sys

import numpy as np
import pytest

from lorapar_cli.names import System
from lorapar_cli.store.tensor_files import layout_fingerprint, write_tensors

SHAPES = {
    f"base_model.model.layers.{layer}.q_proj.lora_{side}.weight": (4, 25)
    for layer in range(2)
    for side in "AB"
}
WATCHED = """
import sys
from lorapar_cli.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print("loaded:", sorted({"torch", "transformers", "matplotlib"} & set(sys.modules)))
"""


@pytest.fixture
def importance(tmp_path):
    draw = np.random.default_rng(0)
    tensors = {
        f"{system}/{name}": draw.lognormal(0, 2, shape).astype(np.float32)
        for system in System
        for name, shape in SHAPES.items()
    }
    path = tmp_path / "importance.safetensors"
    write_tensors(path, tensors, {"fingerprint": layout_fingerprint(SHAPES)})
    return path


def run(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", WATCHED, *map(str, arguments)], capture_output=True, text=True
    )


def test_partition_and_inspect_need_no_torch(importance, tmp_path):
    out = tmp_path / "out"
    done = run("partition", "--importance", importance, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "Jaccard of the two top sets" in done.stdout
    assert "loaded: []" in done.stdout
    for path in (importance, out):
        done = run("inspect", path)
        assert done.returncode == 0, done.stderr
        assert "loaded: []" in done.stdout


def test_sweep_prints_one_row_a_theta(importance, tmp_path):
    done = run("partition", "--importance", importance, "--sweep", "0.5,1.0", "--json")
    rows = json.loads(done.stdout.splitlines()[0])
    assert [row["theta"] for row in rows] == [0.5, 1.0]
    assert rows[1]["jaccard"] == 1
    assert not (tmp_path / "lorapar-run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--theta", "1.5"), "theta"),
        (("--theta", "0"), "`--theta` must be above 0 and at most 1"),
        (("--sweep", "0.5,x"), "takes numbers"),
        (("--sweep", "0.5,0"), "each theta of `--sweep` must be above 0 and at most 1, not 0"),
        (("--sweep", "nan"), "each theta of `--sweep`"),
        (("--sweep", "0.5", "--scope", "module"), "`--out`, `--scope` with it"),
        (("--select", "best"), "select"),
        (("--budget", "9", "--theta", "0.5"), "omit `--theta`"),
        (("--budget", "9", "--scope", "module"), "--budget"),
    ],
)
def test_usage_errors_exit_with_2_and_write_nothing(importance, tmp_path, arguments, words):
    done = run("partition", "--importance", importance, "--out", tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_run_without_importance_names_the_command_before(tmp_path):
    done = run("partition", "--run-dir", tmp_path / "run")
    assert done.returncode == 1
    assert "run `lorapar score` first" in done.stderr


def test_the_exact_sizes_of_the_sets_are_printed(importance, tmp_path):
    out = tmp_path / "out"
    done = run(
        *("partition", "--importance", importance, "--out", out, "--select", "bottom"),
        *("--budget-s1", "3", "--budget-s2", "2.6%", "--scope-s2", "module"),
    )
    assert done.returncode == 0, done.stderr
    assert "top set of System 1: 3 elements, 0.75 % of all" in done.stdout
    assert "top set of System 2: 10 elements, 2.5 % of all" in done.stdout  # 10.4 of 400

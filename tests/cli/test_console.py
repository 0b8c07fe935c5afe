"""Stdout holds results and nothing else, whatever libraries print while a stage works."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lorapar_cli.cli import console
from lorapar_cli.events import Advance, TokenView
from lorapar_cli.store.manifest import Manifest, Outcome

# Prints in every way that a library can while the rules classify, and once more at the end.
_NOISY = """
import atexit, ctypes, os, subprocess, sys
from lorapar_cli.labelling import classify as stage
real = stage.classify
def noisy(*args, **kwargs):
    print("NOISE print")
    sys.stdout.write("NOISE write\\n")
    os.write(1, b"NOISE descriptor\\n")
    ctypes.CDLL(None).printf(b"NOISE printf\\n")
    subprocess.run(["echo", "NOISE child"], check=True)
    late = sys.stdout
    atexit.register(lambda: late.write("NOISE late\\n"))
    return real(*args, **kwargs)
stage.classify = noisy
from lorapar_cli.cli.main import main
main(sys.argv[1:])
"""
_NOISES = ("print", "write", "descriptor", "printf", "child", "late")


@pytest.mark.parametrize("as_json", [True, False])
def test_what_libraries_print_goes_to_stderr(tmp_path, as_json):
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "1+1?", "answer": "#### 2"}\n' * 3)
    command = ["classify", str(data), "--teachers", "rules-cues", "--run-dir", str(tmp_path / "r")]
    done = subprocess.run(
        [sys.executable, "-c", _NOISY, *command, *(["--json"] if as_json else [])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "NOISE" not in done.stdout
    for noise in _NOISES:
        assert f"NOISE {noise}\n" in done.stderr
    if as_json:
        assert json.loads(done.stdout)["stage"] == "classify"
    else:
        assert "records" in done.stdout


def test_results_printed_meanwhile_reach_stdout(capfd):
    with console.progress_display() as progress:
        print("from a library")
        console.stdout().print("a result")
        progress(Advance("working", 1, 1))
        with console.progress_display():
            os.write(1, b"deeper\n")
    print("after")
    out, err = capfd.readouterr()
    assert out == "a result\nafter\n"
    assert "from a library" in err
    assert "deeper" in err


def test_a_caller_who_took_stdout_over_gets_the_results(capsys):
    with console.progress_display():
        print("from a library")
        console.stdout().print("a result")
    out, err = capsys.readouterr()
    assert out == "a result\n"
    assert "from a library" in err


def test_progress_shows_figures_and_a_remark_behind_the_task(capfd):
    with console.progress_display() as progress:
        progress(Advance("a", 3, 9, ("1.5/s", "0 retries"), "waiting 0:20"))
    assert capfd.readouterr().err == "a | 1.5/s | 0 retries | waiting 0:20: 3 of 9\n"


def test_a_task_without_a_count_shows_none(capfd):
    with console.progress_display() as progress:
        progress(Advance("loading"))
        progress(Advance("writing", 0, 2))
    assert capfd.readouterr().err == "loading\nwriting: 0 of 2\n"


@pytest.mark.parametrize(
    ("fresh", "expected"),
    [
        (True, "written: `there`, next: `lorapar partition`\n"),
        (
            False,
            "up to date: `there` holds the result of these inputs and settings, "
            "next: `lorapar partition`\n",
        ),
    ],
)
def test_the_last_line_says_whether_the_result_is_new(capsys, fresh, expected):
    outcome = Outcome(Path("there"), Manifest("score", {}), fresh)
    console.show_outcome(outcome, False, lambda _: ["a table"], "lorapar partition")
    assert capsys.readouterr() == ("a table\n", expected)


def test_tokens_are_shown_on_stdout_by_the_first_process_only(monkeypatch, capsys):
    view = TokenView([[("a", False), ("b", True)]])
    for rank, expected in (("1", False), ("0", True)):
        monkeypatch.setenv("RANK", rank)
        with console.progress_display() as progress:
            progress(view)
        assert ("'a' ['b']" in capsys.readouterr().out) is expected


def test_a_line_a_minute_with_the_course_and_the_time_left(capfd, monkeypatch):
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    with console.progress_display() as progress:
        for step in range(1, 101):
            now = 2.0 * step
            loss = 1 - step / 200
            progress(
                Advance("train-sft", step, 200, (f"loss {loss:.3g}", "9 tokens/s"), "", [1.0, loss])
            )
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("train-sft | loss 0.995 █▁ | 9 tokens/s: 1 of 200")
    assert lines[1:] == [
        "train-sft | loss 0.845 █▁ | 9 tokens/s: 31 of 200, 5:38 left",
        "train-sft | loss 0.695 █▁ | 9 tokens/s: 61 of 200, 4:38 left",
        "train-sft | loss 0.545 █▁ | 9 tokens/s: 91 of 200, 3:38 left",
    ]

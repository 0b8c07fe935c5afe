"""One case of every kind of fault, and that the driver says so when a product loses one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.driver import MODULES, attempt, quick_cases
from tests.faults.harness import Case, make_logs, run
from tests.faults.results import read_results, table, update_page

ROOT = Path(__file__).parents[2]
KINDS = [case.kind for case in quick_cases(0)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Kind -> line of the results of `--quick`, from a process of its own: cases fork commands."""
    folder = tmp_path_factory.mktemp("faults")
    command = [sys.executable, "-m", "tests.faults", "--quick", "--results", str(folder)]
    # Other tests run besides, and two processes need all imports twice.
    subprocess.run([*command, "--jobs", "1"], cwd=ROOT, check=False)
    return {line["kind"]: line for line in read_results(folder / "seed-0-quick")}


def test_every_module_of_faults_has_a_quick_case():
    for module in MODULES:
        assert {case.kind for case in module.cases(0)} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_one_fault_of_each_kind_is_survived(results, kind):
    line = results[kind]
    if line["state"] == "untried":
        pytest.skip(line["why"])
    assert line["state"] == "survived", line["why"]


def _script(monkeypatch, lines: list[str]) -> None:
    """Puts a command in the place of the product's."""
    from lorapar_cli.cli import main

    def scripted(_: list[str]) -> None:
        exec("\n".join(lines), {"os": os, "sys": sys, "__name__": "scripted"})

    monkeypatch.setattr(main, "main", scripted)


@pytest.mark.parametrize(
    ("lines", "lost"),
    [
        (["raise KeyError('lost')"], "traceback: KeyError: 'lost'"),
        (["sys.exit(0)"], "was not refused"),
        (["sys.exit(1)"], "ended with 1 and said ''"),
        (["print('error: no such thing', file=sys.stderr)", "sys.exit(1)"], "does not say 'mask'"),
        (["while True: pass"], "hung for"),
        (["os.kill(os.getpid(), 9)"], "ended with -9"),
    ],
)
def test_a_wrong_product_is_lost(monkeypatch, lines, lost):
    def check(folder: Path) -> None:
        done = run(["partition"], make_logs(folder), cwd=folder, timeout=3)
        done.require_refused("mask")

    _script(monkeypatch, lines)
    line = attempt(Case("kind", "name", check))
    assert line["state"] == "lost"
    assert lost in line["why"]


def test_a_right_product_survives(monkeypatch):
    def check(folder: Path) -> None:
        run(["partition"], make_logs(folder), cwd=folder).require_refused("mask")

    _script(monkeypatch, ["print('error: no mask', file=sys.stderr)", "sys.exit(2)"])
    assert attempt(Case("kind", "name", check))["state"] == "survived"


def test_a_broken_case_is_not_taken_for_a_survivor():
    def check(_: Path) -> None:
        raise ZeroDivisionError

    line = attempt(Case("kind", "name", check))
    assert line["state"] == "broken"
    assert "| kind | 1 | 0 | 1 |" in table([line])


def test_lines_that_a_kill_cut_off_are_tried_again(tmp_path):
    whole = {"kind": "a", "name": "b", "state": "survived", "why": "", "seconds": 0.0}
    (tmp_path / "0.jsonl").write_text(json.dumps(whole) + "\n" + json.dumps(whole)[:20])
    assert read_results(tmp_path) == [whole]


def test_the_page_takes_the_table_of_a_complete_run_only(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- faults: begin -->\nold\n<!-- faults: end -->\nafter\n")
    line = {"kind": "links", "name": "b", "state": "survived", "why": "", "seconds": 90.0}
    with pytest.raises(SystemExit):
        update_page(page, [line], complete=False, seed=3)
    update_page(page, [line], complete=True, seed=3)
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before\n<!-- faults: begin -->\n")
    assert text.endswith("<!-- faults: end -->\nafter\n")
    assert "`python -m tests.faults --seed 3`" in text
    assert "| links | 1 | 1 | 0 | 1.5 |" in text

"""`make faults`: tries every kind of fault and prints what survived.

A case that has been tried is not tried again, so that an interrupted call goes on; `--fresh` forgets
them. The exit code is 1 where anything was lost.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.faults import (
    broken_numbers,
    checkpoints,
    copies,
    corruption,
    fuzzing,
    hostile_adapters,
    hostile_models,
    hostile_templates,
    injection,
    moments,
    odd_names,
    option_numbers,
    patterns,
    places,
    readers,
    recipes,
    secrets,
    settings_files,
    sweeps,
)
from tests.faults.harness import Case, Lost, Untried, warm_up
from tests.faults.limits import be_patient
from tests.faults.results import PAGE, append, read_results, table, update_page

MODULES: tuple[ModuleType, ...] = (
    moments,
    places,
    odd_names,
    copies,
    corruption,
    checkpoints,
    recipes,
    sweeps,
    secrets,
    injection,
    hostile_models,
    hostile_templates,
    hostile_adapters,
    broken_numbers,
    option_numbers,
    settings_files,
    readers,
    patterns,
    fuzzing,
)
RESULTS = Path(".faults")
Name = tuple[str, str]


def all_cases(seed: int) -> list[Case]:
    """Returns every case, in the order in which they are tried."""
    return [case for module in MODULES for case in module.cases(seed)]


def quick_cases(seed: int) -> list[Case]:
    """Returns one case of each kind: the first one marked as quick, else the first one."""
    first: dict[str, Case] = {}
    for case in all_cases(seed):
        if case.kind not in first or (case.quick and not first[case.kind].quick):
            first[case.kind] = case
    return list(first.values())


def attempt(case: Case) -> dict[str, Any]:
    """Tries one case in a folder of its own and returns its line of the results.

    Its `seconds` are those of the processor, in this process and in the commands that it ran.
    """
    folder = Path(tempfile.mkdtemp(prefix="fault-"))
    state, why = "survived", ""
    started = sum(os.times()[:4])
    try:
        case.check(folder)
    except Lost as lost:
        state, why = "lost", str(lost)
    except Untried as untried:
        state, why = "untried", str(untried)
    except Exception:
        state, why = "broken", traceback.format_exc()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = round(sum(os.times()[:4]) - started, 3)
    return {"kind": case.kind, "name": case.name, "state": state, "why": why, "seconds": seconds}


def work(seed: int, names: list[Name], path: Path, temporary: str) -> None:
    """Tries cases in one process and appends their lines; ends when the driver has been killed."""
    tempfile.tempdir = temporary
    driver = os.getppid()
    warm_up()
    wanted = {(case.kind, case.name): case for case in all_cases(seed)}
    for name in names:
        if os.getppid() != driver:
            return
        append(path, attempt(wanted[name]))


def try_all(seed: int, names: list[Name], folder: Path, jobs: int) -> None:
    """Tries cases in `jobs` processes; one that takes its process with it is lost, and the rest go on."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="lorapar-faults-", ignore_cleanup_errors=True) as own:
        shares = {folder / f"{number}.jsonl": names[number::jobs] for number in range(jobs)}
        while shares:
            workers = {}
            for path, share in shares.items():
                workers[path] = context.Process(target=work, args=(seed, share, path, own))
                workers[path].start()
            for worker in workers.values():
                worker.join()
            shares = {
                path: left
                for path, worker in workers.items()
                if worker.exitcode and (left := _after_crash(path, shares[path], worker.exitcode))
            }


def _after_crash(path: Path, names: list[Name], code: int) -> list[Name]:
    """Counts the case during which a process ended as lost; returns those after it."""
    tried = {(line["kind"], line["name"]) for line in read_results(path.parent)}
    left = [name for name in names if name not in tried]
    if left:
        why = f"the process that tried it ended with {code}"
        kind, name = left[0]
        append(path, {"kind": kind, "name": name, "state": "lost", "why": why, "seconds": 0.0})
    return left[1:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    given = _parse(arguments)
    folder = given.results / f"seed-{given.seed}{'-quick' if given.quick else ''}"
    if given.fresh or given.quick:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    be_patient(given.patience)
    cases = quick_cases(given.seed) if given.quick else all_cases(given.seed)
    order = [(case.kind, case.name) for case in cases]
    asked = [name for name in order if any(part in " ".join(name) for part in given.only or [""])]
    known = {(line["kind"], line["name"]) for line in read_results(folder)}
    left = [name for name in asked if name not in known]
    if not given.update_docs:
        print(f"{len(left):,} cases to try, {len(asked) - len(left):,} known", file=sys.stderr)
        started = time.monotonic()
        if left:
            try_all(given.seed, left, folder, min(given.jobs, len(left)))
        seconds = time.monotonic() - started
        append(folder / "calls.jsonl", {"tried": len(left), "jobs": given.jobs, "seconds": seconds})
    # What earlier versions of the cases were called does not count.
    found = {(line["kind"], line["name"]): line for line in read_results(folder)}
    results = [found[name] for name in asked if name in found]
    print(table(results))
    failed = [line for line in results if line["state"] in ("lost", "broken")]
    for line in failed:
        print(f"{line['state']}: {line['kind']}: {line['name']}\n  {line['why']}", file=sys.stderr)
    if given.update_docs:
        update_page(PAGE, results, complete=len(results) == len(order), seed=given.seed)
    else:
        print(f"{seconds / 60:.1f} minutes, {given.jobs} processes", file=sys.stderr)
    return 1 if failed or len(results) < len(asked) else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="decides everything random")
    parser.add_argument(
        "--only", action="append", help="kinds or cases whose name contains this; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="one case of each kind, always anew")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument(
        "--patience",
        type=float,
        default=1.0,
        help="times as long that a command may take, for a machine with other work",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument(
        "--update-docs",
        action="store_true",
        help=f"try nothing; write the table of a complete run into {PAGE}",
    )
    return parser.parse_args(arguments)

"""`make faults`: tries every kind of fault and prints what survived.

A case that has been tried is not tried again, so that an interrupted call goes on; `--fresh` forgets
them. The exit code is 1 where anything was lost.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

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
    places,
    readers,
    secrets,
)
from tests.faults.harness import Case, Lost, Untried, warm_up

MODULES = (
    moments,
    places,
    odd_names,
    copies,
    corruption,
    checkpoints,
    secrets,
    injection,
    hostile_models,
    hostile_templates,
    hostile_adapters,
    broken_numbers,
    option_numbers,
    readers,
    fuzzing,
)
RESULTS = Path(".faults")


def all_cases(seed: int) -> list[Case]:
    """Returns every case, in the order in which they are tried."""
    return [case for module in MODULES for case in module.cases(seed)]


def attempt(case: Case) -> dict[str, str]:
    """Tries one case in a folder of its own and returns its line of the results."""
    folder = Path(tempfile.mkdtemp(prefix="fault-"))
    state, why = "survived", ""
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
    return {"kind": case.kind, "name": case.name, "state": state, "why": why}


def work(seed: int, names: list[tuple[str, str]], path: Path) -> None:
    """Tries cases in one process and appends their lines."""
    warm_up()
    wanted = {(case.kind, case.name): case for case in all_cases(seed)}
    with open(path, "a", encoding="utf-8") as file:
        for name in names:
            file.write(json.dumps(attempt(wanted[name])) + "\n")
            file.flush()


def read_results(path: Path) -> list[dict[str, str]]:
    """Returns the lines of earlier calls; one that a kill cut off is left out."""
    lines = []
    for file in sorted(path.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
    return lines


def table(results: Iterable[dict[str, str]]) -> str:
    """Returns the results as a Markdown table, a row a kind."""
    counts: dict[str, Counter[str]] = {}
    for line in results:
        counts.setdefault(line["kind"], Counter())[line["state"]] += 1
    rows = ["| fault | tried | survived | lost |", "|---|---:|---:|---:|"]
    for kind, states in counts.items():
        lost = states["lost"] + states["broken"]
        tried = states["survived"] + lost
        untried = f" ({states['untried']} not possible here)" if states["untried"] else ""
        rows.append(f"| {kind}{untried} | {tried:,} | {states['survived']:,} | {lost:,} |")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="decides everything random")
    parser.add_argument("--only", default="", help="kinds or cases whose name contains this")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    folder = RESULTS / f"seed-{given.seed}"
    if given.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    known = {(line["kind"], line["name"]) for line in read_results(folder)}
    left = [
        (case.kind, case.name)
        for case in all_cases(given.seed)
        if given.only in f"{case.kind} {case.name}" and (case.kind, case.name) not in known
    ]
    print(f"{len(left)} cases to try, {len(known)} tried before", file=sys.stderr)
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(
            target=work, args=(given.seed, left[number :: given.jobs], folder / f"{number}.jsonl")
        )
        for number in range(given.jobs if left else 0)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    results = [
        line for line in read_results(folder) if given.only in f"{line['kind']} {line['name']}"
    ]
    print(table(results))
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    failed = [line for line in results if line["state"] in ("lost", "broken")]
    for line in failed:
        print(f"{line['state']}: {line['kind']}: {line['name']}\n  {line['why']}", file=sys.stderr)
    return 1 if failed or any(worker.exitcode for worker in workers) else 0

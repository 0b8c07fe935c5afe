"""A sweep and the report's page, killed and over what is damaged: the same table, the same page."""

import functools
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.faults.corruption import WAYS
from tests.faults.harness import Case, Lost, Result, fraction, make_logs, run, start
from tests.faults.pipeline import pipeline
from tests.faults.recipes import DAMAGES, FEW, MOMENTS

SWEEPS, PAGES = "sweeps", "the report's page"
GRID = """\
model: MODEL
classify: {data: DATA, teachers: [rules-operations, rules-cues, rules-shape], holdout: 0.2}
score: {samples: 4, r: 2}
train-sft: {learning-rate: 0.01, per-device-batch-size: 2, gradient-accumulation: 1, max-steps: 1}
eval: {max-new-tokens: 2, limit: 4, forgetting: false}
order: sft
grid: {theta: [THETAS]}
"""
SWEEP = ["sweep", "grid.yaml"]
_MORE = "0.3, 0.9, 0.6"
# Of each stage what the next one reads, and what the table is read from.
OF_STEPS = (
    *("classify-*/system1.jsonl", "score-*/importance.safetensors", "partition-*/mask.safetensors"),
    *("train-sft-*/adapter/adapter_model.safetensors", "eval-*/result/manifest.json"),
)


def cases(seed: int) -> Iterator[Case]:
    for number in range(MOMENTS):
        check = partial(_killed_sweep, number, seed)
        yield Case(SWEEPS, f"killed at moment {number}", check, quick=number == 0)
    for file in OF_STEPS:
        for way in FEW:
            check = partial(_damaged_step, file, way, seed)
            yield Case(SWEEPS, f"another cell over {file}: {way}", check)
    for file in ("results.json", "sweep.md", "sweep.csv"):
        for way in FEW:
            yield Case(
                SWEEPS, f"again over {file}: {way}", partial(_damaged_table, file, way, seed)
            )
    for way in DAMAGES:
        yield Case(PAGES, f"report over report.html: {way}", partial(_over_page, way, seed))
    for number in range(MOMENTS):
        yield Case(PAGES, f"killed at moment {number}", partial(_killed_page, number, seed))


def _write_grid(folder: Path, thetas: str = "0.3, 0.9") -> None:
    text = GRID.replace("MODEL", str(pipeline().model)).replace("DATA", str(pipeline().data))
    text = text.replace("THETAS", thetas)
    (folder / "grid.yaml").write_text(text, encoding="utf-8")


@functools.cache
def _swept(*thetas: str) -> tuple[Path, float]:
    """Returns the folder of a sweep that nothing happened to, and the seconds that it took."""
    folder = Path(tempfile.mkdtemp(prefix="swept-", dir=pipeline().root))
    _write_grid(folder, *thetas)
    done = run(SWEEP, folder, cwd=folder).require_done()
    return folder, done.seconds


def _require_table(folder: Path, done: Result, *thetas: str) -> None:
    """Raises Lost unless a sweep has ended with the table that it has without any fault."""
    done.require_done()
    for name in ("sweep.md", "sweep.csv"):
        made = (folder / "lorapar-sweep" / "grid" / name).read_bytes()
        if made != (_swept(*thetas)[0] / "lorapar-sweep" / "grid" / name).read_bytes():
            raise Lost(f"`{name}` is another one than without the fault")


def _killed_sweep(number: int, seed: int, folder: Path) -> None:
    _write_grid(folder)
    seconds, logs = _swept()[1], make_logs(folder)
    running = start(SWEEP, logs, cwd=folder)
    time.sleep(fraction(seed, "sweep", number) * seconds)
    running.send(signal.SIGKILL)
    running.wait()
    _require_table(folder, run(SWEEP, logs, cwd=folder))


def _damaged_step(file: str, way: str, seed: int, folder: Path) -> None:
    """A further cell over a damaged stage names it; no table is ever another one."""
    shutil.copytree(_swept()[0], folder, dirs_exist_ok=True)
    stages = folder / "lorapar-sweep" / "stages"
    target = sorted(stages.glob(file))[0]
    step = target.relative_to(stages).parts[0]
    WAYS[way](target, random.Random(f"{seed} {file} {way}"))
    _write_grid(folder, _MORE)
    done = run(SWEEP, make_logs(folder), cwd=folder).require_sane()
    if done.code == 0:
        _require_table(folder, done, _MORE)
    elif target.name not in done.said and step not in done.said:
        raise Lost(f"it does not name `{target}`: {done.said[-300:]}")


def _damaged_table(file: str, way: str, seed: int, folder: Path) -> None:
    shutil.copytree(_swept()[0], folder, dirs_exist_ok=True)
    target = folder / "lorapar-sweep" / "grid" / file
    WAYS[way](target, random.Random(f"{seed} {file} {way}"))
    done = run(SWEEP, make_logs(folder), cwd=folder).require_sane()
    if done.code == 0:
        _require_table(folder, done)
    elif file not in done.err:
        raise Lost(f"it does not name `{file}`: {done.err[-300:]}")


@functools.cache
def _page() -> tuple[bytes, float]:
    """Returns the page of the finished run, and the seconds that it took."""
    folder = Path(tempfile.mkdtemp(prefix="page-", dir=pipeline().root))
    pipeline().copy(folder, "eval")
    done = run(["report", "--run-dir", "run"], folder, cwd=folder).require_done()
    return (folder / "run" / "report.html").read_bytes(), done.seconds


def _over_page(way: str, seed: int, folder: Path) -> None:
    """A page is written anew over whatever is left of an earlier one, or that is named."""
    page = pipeline().copy(folder, "eval") / "report.html"
    page.write_bytes(_page()[0])
    WAYS[way](page, random.Random(f"{seed} page {way}"))
    done = run(["report", "--run-dir", "run"], make_logs(folder), cwd=folder).require_sane()
    if done.code == 0:
        _require_page(page)
    elif "report.html" not in done.err:
        raise Lost(f"it does not name `report.html`: {done.err[-300:]}")


def _killed_page(number: int, seed: int, folder: Path) -> None:
    page = pipeline().copy(folder, "eval") / "report.html"
    page.write_bytes(b"the earlier one")
    logs = make_logs(folder)
    running = start(["report", "--run-dir", "run"], logs, cwd=folder)
    time.sleep(fraction(seed, "page", number) * _page()[1])
    running.send(signal.SIGKILL)
    running.wait()
    if page.read_bytes() != b"the earlier one":
        _require_page(page)
    run(["report", "--run-dir", "run"], logs, cwd=folder).require_done()
    _require_page(page)


def _require_page(page: Path) -> None:
    if page.read_bytes() != _page()[0]:
        raise Lost("the page is another one than without the fault")

"""What is sampled, searched or measured around a training, killed and damaged.

Each recipe is a training stage with further options, and has files of its own: a journal while it
runs, an artifact when it is done, and in some cases a file of the user's.
"""

import functools
import itertools
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults.corruption import WAYS
from tests.faults.harness import Case, Lost, Result, digests, fraction, make_logs, run, start
from tests.faults.pipeline import pipeline, require_whole

KIND = "recipes of training"
MOMENTS = 5
# Of a journal, whose every line is held against a digest.
DAMAGES = (
    *("bit in the middle", "cut by a little", "a block of zeros", "twice", "not UTF-8", "gone"),
    *("a folder", "a fifo", "a link to nowhere", "a pickle", "of another run"),
)
# Of what no later command reads.
FEW = ("bit in the middle", "cut by a little", "gone", "of another run", "a folder", "a fifo")
# What users give is theirs to change: a fault is what cannot be read.
UNREADABLE = ("not UTF-8", "a folder", "a fifo", "a link to nowhere", "gone")


@dataclass(frozen=True)
class Recipe:
    """A training stage with options.

    Attributes:
        more: Its options, which replace the pipeline's own of the same name.
        without: Options of the pipeline that it has not.
        journal: What is appended to while it runs; None where nothing is.
        artifact: What it leaves besides an adapter.
        given: Name of the user's file in the folder that commands run in; None for none.
    """

    stage: str
    more: tuple[str, ...]
    without: tuple[str, ...] = ()
    journal: str | None = None
    artifact: str = "metrics.jsonl"
    given: str | None = None

    def command(self) -> list[str]:
        """Returns the arguments."""
        arguments = pipeline().command(self.stage)
        for name in (*self.without, *(each for each in self.more if each.startswith("--"))):
            if name in arguments:
                place = arguments.index(name)
                del arguments[place : place + 2]
        return [*arguments, *self.more]

    def journal_files(self) -> tuple[str, ...]:
        """Returns the names of the journal's files."""
        return () if self.journal is None else (f"{self.journal}.jsonl", f"{self.journal}.txt")

    def before(self, folder: Path) -> Path:
        """Returns a run directory in which the stage can run, and writes what the user gives."""
        if self.given is not None:
            shutil.copy(_given(self.given), folder / self.given)
        return pipeline().before(folder, self.stage)


_WATCHED = ("--watch", "2", "--eval-steps", "1", "--keep", "best", "--eval-max-new-tokens", "4")
RECIPES = {
    "replay of own answers": Recipe(
        "train-sft",
        ("--replay", "0.4", "--replay-source", "self", "--sample-batch-size", "1"),
        journal="unfinished-replay",
        artifact="replay.jsonl",
    ),
    "replay of a file": Recipe(
        "train-sft",
        ("--replay", "0.4", "--replay-source", "replayed.jsonl"),
        given="replayed.jsonl",
    ),
    "rate search": Recipe(
        "train-sft",
        ("--find-lr", "--find-lr-steps", "1", "--data", "all"),
        without=("--learning-rate",),
        journal="unfinished-learning-rates",
        artifact="learning-rates.jsonl",
    ),
    "validation": Recipe("train-sft", ("--validation", "0.25", *_WATCHED)),
    "validation file": Recipe(
        "train-sft", ("--validation", "validated.jsonl", *_WATCHED), given="validated.jsonl"
    ),
    "neutral text": Recipe("train-sft", ("--neutral", "neutral.txt"), given="neutral.txt"),
    "pass rates": Recipe(
        "train-rl",
        ("--max-pass", "1", "--pass-samples", "2", "--sample-batch-size", "4"),
        journal="unfinished-pass-rates",
        artifact="pass-rates.jsonl",
    ),
    "refill": Recipe(
        "train-rl",
        ("--refill", "--rewards", "tests.faults.rewards.half"),
        artifact="refill.jsonl",
    ),
}


def cases(seed: int) -> Iterator[Case]:
    for name, recipe in RECIPES.items():
        for number in range(MOMENTS):
            yield Case(
                KIND,
                f"{name}, killed at moment {number}",
                partial(_killed, name, number, seed),
                quick=(name, number) == ("replay of own answers", 0),
            )
        for file, way in itertools.product(recipe.journal_files(), DAMAGES):
            check = partial(_damaged_journal, name, file, way, seed)
            yield Case(KIND, f"{name}, resumed from {file}: {way}", check)
        for way in FEW:
            check = partial(_damaged_artifact, name, way, seed)
            yield Case(KIND, f"{name}, {recipe.artifact} of a finished run: {way}", check)
        if recipe.given is not None:
            for way in UNREADABLE:
                check = partial(_unreadable, name, way, seed)
                yield Case(KIND, f"{name}, {recipe.given}: {way}", check)


@functools.cache
def _given(name: str) -> Path:
    """Returns a file as a user gives it."""
    path = Path(tempfile.mkdtemp(prefix="given-", dir=pipeline().root)) / name
    if path.suffix == ".txt":
        path.write_text("The sun rose over the hills. " * 20, encoding="utf-8")
        return path
    line = '{"id": "own-%d", "prompt": "What is %d + 3?", "completion": "#### %d", "label": "system%d"}\n'
    path.write_text(
        "".join(line % (n, n, n + 3, 1 + n % 2) for n in range(30, 40)), encoding="utf-8"
    )
    return path


@functools.cache
def _finished(name: str) -> tuple[Path, float]:
    """Returns the folder of a recipe that nothing happened to, and the seconds that it took."""
    folder = Path(tempfile.mkdtemp(prefix="recipe-", dir=pipeline().root))
    RECIPES[name].before(folder)
    done = run(RECIPES[name].command(), folder, cwd=folder).require_done()
    return folder, done.seconds


def _require_clean(name: str, folder: Path, done: Result) -> None:
    """Raises Lost unless a command has ended with the result that it has without any fault."""
    done.require_done()
    stage = RECIPES[name].stage
    made, clean = digests(folder / "run" / stage), digests(_finished(name)[0] / "run" / stage)
    if made != clean:
        differing = [n for n in sorted(clean.keys() | made.keys()) if made.get(n) != clean.get(n)]
        raise Lost(f"{name} has another result than without the fault: {differing}")
    require_whole(folder / "run" / stage)


def _killed(name: str, number: int, seed: int, folder: Path) -> None:
    recipe, seconds = RECIPES[name], _finished(name)[1]
    recipe.before(folder)
    logs = make_logs(folder)
    running = start(recipe.command(), logs, cwd=folder)
    time.sleep(fraction(seed, name, number) * seconds * 1.05)
    running.send(signal.SIGKILL)
    running.wait()
    _require_clean(name, folder, run(recipe.command(), logs, cwd=folder))


@functools.cache
def _killed_over_journal(name: str) -> Path:
    """Returns the folder of a recipe that was killed once its journal had two lines."""
    recipe = RECIPES[name]
    folder = Path(tempfile.mkdtemp(prefix="killed-", dir=pipeline().root))
    run_dir = recipe.before(folder)
    journal = run_dir / recipe.stage / f"{recipe.journal}.jsonl"
    running = start(recipe.command(), folder, cwd=folder)
    waited = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 2):
        if time.monotonic() > waited:
            raise Lost(f"{name} writes no journal")
        time.sleep(0.001)
    running.send(signal.SIGKILL)
    running.wait()
    return folder


def _damaged_journal(name: str, file: str, way: str, seed: int, folder: Path) -> None:
    recipe = RECIPES[name]
    shutil.copytree(_killed_over_journal(name), folder, dirs_exist_ok=True)
    target = folder / "run" / recipe.stage / file
    WAYS[way](target, random.Random(f"{seed} {name} {file} {way}"))
    done = run(recipe.command(), make_logs(folder), cwd=folder)
    _require_clean(name, folder, done)


def _damaged_artifact(name: str, way: str, seed: int, folder: Path) -> None:
    """A finished run with a damaged file is not up to date, and trained again it is right."""
    recipe = RECIPES[name]
    shutil.copytree(_finished(name)[0], folder, dirs_exist_ok=True)
    target = folder / "run" / recipe.stage / recipe.artifact
    WAYS[way](target, random.Random(f"{seed} {name} {way}"))
    logs = make_logs(folder)
    status = run(["status", "--run-dir", "run"], logs, cwd=folder).require_done()
    if recipe.artifact not in status.said and "damaged" not in status.said:
        raise Lost(f"status says nothing of a damaged `{recipe.artifact}`: {status.out[-300:]}")
    again = run(recipe.command(), logs, cwd=folder).require_sane()
    if again.code == 0:
        raise Lost(f"{name} is up to date with a damaged `{recipe.artifact}`")
    again.require_refused(recipe.artifact)
    _require_clean(name, folder, run([*recipe.command(), "--overwrite"], logs, cwd=folder))


def _unreadable(name: str, way: str, seed: int, folder: Path) -> None:
    recipe = RECIPES[name]
    recipe.before(folder)
    file = str(recipe.given)
    WAYS[way](folder / file, random.Random(f"{seed} {name} {way}"))
    done = run(recipe.command(), make_logs(folder), cwd=folder)
    done.require_refused(file)

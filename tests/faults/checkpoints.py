"""What killed runs resume from, damaged since: the end is the clean one, or a clear refusal."""

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
from tests.faults.harness import Case, Lost, Result, digests, make_logs, run, start
from tests.faults.pipeline import FOLDERS, pipeline, require_clean

KIND = "checkpoints"
STEPS = 8
# Checkpoints at which a training is killed; of each the one before is there too.
KILLED_AT = (3, 5, 7)
STAGES = ("train-sft", "train-rl")
# What a checkpoint is resumed from, with its mark.
RESUMED_FROM = (
    *("adapter_model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"),
    "complete",
)
# Further ways, of which each seed takes some for every file.
SOME = 4
# Of files that little or nothing is computed from, a few ways are enough.
LESS = ("scheduler.pt", "adapter_config.json", "README.md", "tokenizer.json")
FEW = ("bit anywhere", "cut to a half", "gone", "a fifo", "a folder", "a pickle", "deep nesting")
# What lies next to the checkpoints of an unfinished run.
BESIDE = {
    "train-sft": ("metrics.jsonl", "unfinished.json"),
    "train-rl": ("metrics.jsonl", "completions.jsonl", "unfinished.json"),
}
# What an evaluation is resumed from.
SAMPLES = ("samples.jsonl", "unfinished-samples.txt", "unfinished.json")


def cases(seed: int) -> Iterator[Case]:
    for stage in STAGES:
        for step in KILLED_AT:
            yield Case(KIND, f"{stage} killed after step {step}", partial(_undamaged, stage, step))
        for number, (file, way) in enumerate(_damages(stage, seed)):
            step = KILLED_AT[number % len(KILLED_AT)]
            name = f"{stage} killed after step {step}, {file}: {way}"
            yield Case(KIND, name, partial(_damaged, stage, step, file, way, seed))
        for way in ("every checkpoint", "of another run", "older one alone", "whole folder gone"):
            yield Case(KIND, f"{stage}, {way}", partial(_whole, stage, way, seed))
    for file in SAMPLES:
        for way in _ways(file, seed):
            name = f"eval killed after its first samples, {file}: {way}"
            yield Case(KIND, name, partial(_damaged_samples, file, way, seed))


def _damages(stage: str, seed: int) -> Iterator[tuple[str, str]]:
    """Yields file and way; of RL, whose checkpoints are made and read by the same code, half."""
    every = [(file, way) for file in (*RESUMED_FROM, *BESIDE[stage]) for way in _ways(file, seed)]
    every += [(file, way) for file in LESS for way in FEW]
    yield from every if stage == "train-sft" else every[seed % 2 :: 2]


def _ways(file: str, seed: int) -> list[str]:
    others = [way for way in WAYS if way not in (*FEW, "of another run")]
    return [*FEW, "of another run", *random.Random(f"{seed} {file}").sample(others, SOME)]


def _command(stage: str) -> list[str]:
    longer = ["--max-steps", str(STEPS), "--save-steps", "1"]
    return [*pipeline().command(stage), *longer]


@functools.cache
def _clean(stage: str) -> dict[str, str]:
    """Returns path -> sha256 of a training that nothing happened to."""
    return digests(_finished(stage) / stage)


@functools.cache
def _finished(stage: str, *more: str) -> Path:
    """Returns the run directory of a training that nothing happened to."""
    folder = Path(tempfile.mkdtemp(prefix="trained-", dir=pipeline().root))
    run_dir = pipeline().before(folder, stage)
    run([*_command(stage), *more], folder, cwd=folder).require_done()
    return run_dir


@functools.cache
def _killed(stage: str, step: int) -> Path:
    """Returns the run directory of a training that was killed once a checkpoint was complete."""
    folder = Path(tempfile.mkdtemp(prefix="killed-", dir=pipeline().root))
    run_dir = pipeline().before(folder, stage)
    running = start(_command(stage), folder, cwd=folder)
    checkpoints = run_dir / stage / "checkpoints"
    # The next one begins when this one is complete.
    waited = time.monotonic() + 60
    while not (checkpoints / f"checkpoint-{step + 1}").exists():
        if time.monotonic() > waited:
            raise Lost(f"{stage} writes no checkpoint {step + 1}")
        time.sleep(0.001)
    running.send(signal.SIGKILL)
    running.wait()
    for path in checkpoints.iterdir():
        if int(path.name.rsplit("-", 1)[1]) > step:
            shutil.rmtree(path)
    return run_dir


def _continue(stage: str, run_dir: Path, logs: Path) -> str:
    """Repeats the command, which must end with the clean result; returns what it said."""
    return _require_clean(stage, run_dir, run(_command(stage), logs, cwd=run_dir.parent))


def _require_clean(stage: str, run_dir: Path, done: Result) -> str:
    """Returns what a command said that must have ended with the clean result."""
    done.require_done()
    made, clean = digests(run_dir / stage), _clean(stage)
    if made != clean:
        differing = [n for n in sorted(clean.keys() | made.keys()) if made.get(n) != clean.get(n)]
        raise Lost(f"{stage} has another result than without the fault: {differing}")
    return done.err


def _undamaged(stage: str, step: int, folder: Path) -> None:
    shutil.copytree(_killed(stage, step), folder / "run")
    said = _continue(stage, folder / "run", make_logs(folder))
    if f"checkpoint-{step}" not in said:
        raise Lost(f"it does not resume from checkpoint {step}, or does not say so: {said[-300:]}")


def _damaged(stage: str, step: int, file: str, way: str, seed: int, folder: Path) -> None:
    run_dir = Path(shutil.copytree(_killed(stage, step), folder / "run"))
    inside = file not in BESIDE[stage]
    target = run_dir / stage
    if inside:
        target = target / "checkpoints" / f"checkpoint-{step}"
    other = _finished(stage, "--seed", "1") / stage / "checkpoints" / f"checkpoint-{STEPS}" / file
    if way == "of another run" and other.is_file():
        shutil.copy(other, target / file)
    else:
        WAYS[way](target / file, random.Random(f"{seed} {stage} {file} {way}"))
    done = run(_command(stage), make_logs(folder), cwd=folder).require_sane()
    if not inside and done.refused and file in done.err:
        # It cannot be taken from an older checkpoint, and hours may be worth more than what
        # starting over would restore.
        return
    said = _require_clean(stage, run_dir, done)
    # Without its mark nobody can tell it from one that was never complete.
    never_complete = (file, way) == ("complete", "gone")
    if inside and not never_complete and f"checkpoint-{step}" not in said:
        raise Lost(f"it does not say that checkpoint {step} is damaged: {said[-300:]}")


def _whole(stage: str, way: str, seed: int, folder: Path) -> None:
    run_dir = Path(shutil.copytree(_killed(stage, 5), folder / "run"))
    checkpoints = run_dir / stage / "checkpoints"
    newest, older = checkpoints / "checkpoint-5", checkpoints / "checkpoint-4"
    chance = random.Random(f"{seed} {stage} {way}")
    weights = "adapter_model.safetensors"
    if way == "every checkpoint":
        for path in checkpoints.iterdir():
            WAYS["bit in the middle"](path / weights, chance)
    elif way == "of another run":
        shutil.rmtree(newest)
        other = _finished(stage, "--seed", "1") / stage / "checkpoints"
        shutil.copytree(other / f"checkpoint-{STEPS}", newest)
    elif way == "older one alone":
        WAYS["bit in the middle"](older / weights, chance)
    else:
        shutil.rmtree(newest)
    said = _continue(stage, run_dir, make_logs(folder))
    if way in ("every checkpoint", "of another run") and "checkpoint-5" not in said:
        raise Lost(f"it does not say that checkpoint 5 is damaged: {said[-300:]}")


@functools.cache
def _killed_evaluation() -> Path:
    """Returns the run directory of an evaluation that was killed between two models."""
    folder = Path(tempfile.mkdtemp(prefix="killed-", dir=pipeline().root))
    run_dir = pipeline().before(folder, "eval")
    samples = run_dir / FOLDERS["eval"] / "samples.jsonl"
    running = start(pipeline().command("eval"), folder, cwd=folder)
    waited = time.monotonic() + 60
    while not (samples.exists() and samples.stat().st_size):
        if time.monotonic() > waited:
            raise Lost("eval writes no samples")
        time.sleep(0.001)
    running.send(signal.SIGKILL)
    running.wait()
    return run_dir


def _damaged_samples(file: str, way: str, seed: int, folder: Path) -> None:
    run_dir = Path(shutil.copytree(_killed_evaluation(), folder / "run"))
    chance = random.Random(f"{seed} {file} {way}")
    WAYS[way](run_dir / FOLDERS["eval"] / file, chance)
    run(pipeline().command("eval"), make_logs(folder), cwd=folder).require_done()
    require_clean(run_dir, "eval")

"""Disks that are full, places that cannot be written, folders that vanish under a stage."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.faults.harness import Case, Lost, Untried, digests, fraction, make_logs, run, start
from tests.faults.pipeline import CHANGED, FOLDERS, READS, STAGES, pipeline, require_clean

FULL = "full disks"
FORBIDDEN = "read-only and forbidden places"
VANISHED = "folders that vanish"
ROOM = 16 * 2**20
PAGE = 4096
# Room that is left, as a share of what the stage writes.
SHARES = (0.0, 0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)


def cases(seed: int) -> Iterator[Case]:
    for stage in STAGES:
        for share in SHARES:
            yield Case(FULL, f"{stage}, room for {share:.0%}", partial(_full, stage, share))
        for entries in (0, 2, 6):
            name = f"{stage}, room for {entries} files"
            yield Case(FULL, name, partial(_no_entries, stage, entries))
        for share in (0.0, 0.4, 0.9):
            name = f"{stage} over a finished result, room for {share:.0%}"
            yield Case(FULL, name, partial(_full_over_result, stage, share))
        yield Case(FORBIDDEN, f"{stage}, read-only disk", partial(_read_only, stage))
        yield Case(FORBIDDEN, f"{stage}, finished, on a read-only disk", partial(_kept, stage))
        yield Case(FORBIDDEN, f"{stage}, run directory 0555", partial(_forbidden_target, stage))
        yield Case(FORBIDDEN, f"{stage}, own folder 0000", partial(_forbidden_result, stage))
        for file in READS.get(stage, ()):
            name = f"{stage}, unreadable {file}"
            yield Case(FORBIDDEN, name, partial(_forbidden_input, stage, file))
            folder = Path(file).parts[0]
            name = f"{stage}, unreadable folder of {file}"
            yield Case(FORBIDDEN, name, partial(_forbidden_input, stage, folder))
        for what in ("own folder", "run directory", "run directory renamed", "inputs"):
            if what == "inputs" and stage not in READS:
                continue
            for number in range(3):
                check = partial(_vanishes, stage, what, number, seed)
                yield Case(VANISHED, f"{stage}, {what}, moment {number}", check)
    for command in (
        ["status"],
        ["report", "--markdown"],
        ["inspect", "run/partition"],
        ["inspect", "run/score"],
    ):
        yield Case(FORBIDDEN, f"{command} on a read-only disk", partial(_looks, command))
    yield Case(FORBIDDEN, "unreadable data", partial(_forbidden_data, "data.jsonl"))
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        yield Case(FORBIDDEN, f"unreadable {name} of the model", partial(_forbidden_model, name))


@contextmanager
def disk(folder: Path, size: int = ROOM, entries: int = 0) -> Iterator[Path]:
    """Yields a small disk of its own.

    Args:
        size: In bytes.
        entries: Most files and folders that it can hold; 0 for no limit.

    Raises:
        Untried: This process may not mount one.
    """
    place = folder / "disk"
    place.mkdir()
    options = f"size={size},mode=0755,nr_inodes={entries}"
    made = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(made, capture_output=True).returncode != 0:
        raise Untried("a disk can be mounted by root only")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, left: int) -> Path:
    """Fills a disk until so many bytes are left; returns the file that takes the room."""
    filler = place / "filler"
    with open(filler, "wb") as file:
        free = os.statvfs(place)
        size = free.f_bavail * free.f_frsize - left
        if size > 0:
            os.posix_fallocate(file.fileno(), 0, size)
    return filler


def written_bytes(stage: str) -> int:
    """Returns what a stage's folder takes on a disk, checkpoints included."""
    folder = pipeline().root / "run" / stage
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in folder.rglob("*"))


def _full(stage: str, share: float, folder: Path) -> None:
    logs = make_logs(folder)
    with disk(folder) as place:
        run_dir = pipeline().before(place, stage)
        filler = fill(place, int(share * written_bytes(stage)) // PAGE * PAGE)
        _require_no_room(stage, place, run_dir, logs)
        filler.unlink()
        run(pipeline().command(stage), logs, cwd=place).require_done()
        require_clean(run_dir, stage)


def _require_no_room(stage: str, place: Path, run_dir: Path, logs: Path) -> None:
    done = run(pipeline().command(stage), logs, cwd=place).require_sane()
    if done.code == 0:
        require_clean(run_dir, stage)
    else:
        done.require_refused("no space left|disk is full|disk full|database or disk is full", "run")


def _no_entries(stage: str, entries: int, folder: Path) -> None:
    """The disk has room for bytes, and none for further files."""
    logs = make_logs(folder)
    with disk(folder, entries=400) as place:
        run_dir = pipeline().before(place, stage)
        free = os.statvfs(place).f_ffree - entries
        takers = [place / f"taker-{number}" for number in range(free)]
        for path in takers:
            path.touch()
        _require_no_room(stage, place, run_dir, logs)
        for path in takers:
            path.unlink()
        run(pipeline().command(stage), logs, cwd=place).require_done()
        require_clean(run_dir, stage)


def _full_over_result(stage: str, share: float, folder: Path) -> None:
    """The old result stays while the new one does not fit, and gives way to it once it does."""
    logs = make_logs(folder)
    command = [*pipeline().command(stage), *CHANGED[stage]]
    with disk(folder) as place:
        run_dir = pipeline().copy(place, stage)
        filler = fill(place, int(share * written_bytes(stage)) // PAGE * PAGE)
        done = run(command, logs, cwd=place).require_sane()
        if done.code != 0:
            done.require_refused("no space left|disk is full|disk full|database or disk is full")
            require_clean(run_dir, stage)
            filler.unlink()
            run(command, logs, cwd=place).require_done()
        if digests(run_dir / FOLDERS[stage]) == pipeline().clean[stage]:
            raise Lost("the old result stands there as if it were the new one")


def _read_only(stage: str, folder: Path) -> None:
    logs = make_logs(folder)
    with disk(folder) as place:
        run_dir = pipeline().before(place, stage)
        _remount(place, "ro")
        run(pipeline().command(stage), logs, cwd=place).require_refused("read-only", "run")
        _remount(place, "rw")
        run(pipeline().command(stage), logs, cwd=place).require_done()
        require_clean(run_dir, stage)


def _remount(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)


def _kept(stage: str, folder: Path) -> None:
    """A finished stage on a read-only disk is up to date, or refused for its cause."""
    logs = make_logs(folder)
    with disk(folder) as place:
        run_dir = pipeline().copy(place, stage)
        _remount(place, "ro")
        done = run(pipeline().command(stage), logs, cwd=place).require_sane()
        if done.code != 0:
            done.require_refused("read-only", "run")
        require_clean(run_dir, stage)


def _looks(command: list[str], folder: Path) -> None:
    """What only reads works on a read-only disk."""
    logs = make_logs(folder)
    with disk(folder) as place:
        pipeline().copy(place, "eval")
        _remount(place, "ro")
        done = run(command, logs, cwd=place, environment={"LORAPAR_RUN_DIR": "run"})
        if not done.require_done().out.strip():
            raise Lost(f"{command} shows nothing")


def _forbidden_target(stage: str, folder: Path) -> None:
    logs = make_logs(folder)
    run_dir = pipeline().before(folder, stage)
    with _mode(run_dir, 0o555):
        done = run(pipeline().command(stage), logs, cwd=folder, unprivileged=True)
        done.require_refused("permission denied", "run")
    run(pipeline().command(stage), logs, cwd=folder).require_done()
    require_clean(run_dir, stage)


def _forbidden_result(stage: str, folder: Path) -> None:
    """An earlier result that cannot be looked at is neither taken for good nor thrown away."""
    logs = make_logs(folder)
    run_dir = pipeline().copy(folder, stage)
    with _mode(run_dir / FOLDERS[stage], 0o000):
        done = run(pipeline().command(stage), logs, cwd=folder, unprivileged=True)
        done.require_refused("permission denied", stage)
        status = run(["status", "--run-dir", "run"], logs, cwd=folder, unprivileged=True)
        if status.require_sane().code == 0 and "ermission" not in status.said:
            raise Lost(f"status does not say that it may not read: {status.said[-300:]}")
    require_clean(run_dir, stage)


def _forbidden_input(stage: str, name: str, folder: Path) -> None:
    logs = make_logs(folder)
    run_dir = pipeline().before(folder, stage)
    with _mode(run_dir / name, 0o000):
        done = run(pipeline().command(stage), logs, cwd=folder, unprivileged=True)
        done.require_refused("permission denied", name)
    run(pipeline().command(stage), logs, cwd=folder).require_done()
    require_clean(run_dir, stage)


def _forbidden_data(name: str, folder: Path) -> None:
    logs = make_logs(folder)
    shutil.copy(pipeline().data, folder / name)
    command = [
        arg if arg != str(pipeline().data) else name for arg in pipeline().command("classify")
    ]
    with _mode(folder / name, 0o000):
        done = run(command, logs, cwd=folder, unprivileged=True)
        done.require_refused("permission denied", name)


def _forbidden_model(name: str, folder: Path) -> None:
    logs = make_logs(folder)
    pipeline().before(folder, "score")
    shutil.copytree(pipeline().model, folder / "model")
    command = [*pipeline().command("score"), "--model", "model"]
    with _mode(folder / "model" / name, 0o000):
        done = run(command, logs, cwd=folder, unprivileged=True)
        done.require_refused("permission denied", "model")


@contextmanager
def _mode(path: Path, mode: int) -> Iterator[None]:
    """Sets a path's permissions for the block; another way to refuse would be another case."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


def _vanishes(stage: str, what: str, number: int, seed: int, folder: Path) -> None:
    run_dir = pipeline().before(folder, stage)
    logs = make_logs(folder)
    running = start(pipeline().command(stage), logs, cwd=folder)
    time.sleep(fraction(seed, stage, what, number) * pipeline().seconds[stage])
    away = folder / "away"
    if what == "run directory renamed":
        run_dir.rename(away)
    else:
        doomed = [run_dir]
        if what == "own folder":
            doomed = [run_dir / stage, *run_dir.glob(f".{stage}*")]
        elif what == "inputs":
            doomed = [run_dir / Path(file).parts[0] for file in READS.get(stage, ())]
        for path in doomed:
            _remove(path)
    running.wait().require_sane()
    if what == "run directory renamed":
        _remove(run_dir)
        away.rename(run_dir)
    elif what != "own folder":
        _remove(run_dir)
        pipeline().before(folder, stage)
    run(pipeline().command(stage), logs, cwd=folder).require_done()
    require_clean(run_dir, stage)


def _remove(path: Path) -> None:
    """Removes a file, or a folder that a command may be writing to at the same time."""
    for _ in range(20):
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        if not os.path.lexists(path):
            return
    raise Lost(f"{path.name} is written to again and again after it was removed")

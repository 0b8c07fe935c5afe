"""Every artifact that a stage reads, damaged, swapped or gone: noticed, or without effect."""

import json
import os
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.faults.harness import Case, Lost, digests, run
from tests.faults.pipeline import FOLDERS, READS, pipeline

KIND = "corruption of artifacts"
Damage = Callable[[Path, random.Random], None]


def flip(path: Path, chance: random.Random, begin: float, end: float) -> None:
    """Changes one bit between two fractions of the file."""
    content = bytearray(path.read_bytes())
    place = min(len(content) - 1, int(chance.uniform(begin, end) * len(content)))
    content[place] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def cut(path: Path, _: random.Random, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def zero_block(path: Path, chance: random.Random) -> None:
    """Overwrites a block as a disk that lost one does; the size stays."""
    content = bytearray(path.read_bytes())
    size = min(512, len(content))
    begin = chance.randrange(len(content) - size + 1)
    content[begin : begin + size] = bytes(size)
    path.write_bytes(content)


def replace(path: Path, _: random.Random, content: bytes) -> None:
    path.write_bytes(content)


def append(path: Path, _: random.Random) -> None:
    with open(path, "ab") as file:
        file.write(b"\0")


def twice(path: Path, _: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content + content)


def remove(path: Path, _: random.Random) -> None:
    path.unlink()


def make_folder(path: Path, _: random.Random) -> None:
    path.unlink()
    path.mkdir()


def make_fifo(path: Path, _: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def make_link(path: Path, _: random.Random, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def swap_rows(path: Path, _: random.Random) -> None:
    """Moves the file's second half before its first: same size, same bytes, another order."""
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[half:] + content[:half])


def other_run(path: Path, _: random.Random) -> None:
    """Puts the file of another run in its place: right in itself, not what the manifest means."""
    content = path.read_bytes()
    if path.suffix == ".safetensors":
        header = int.from_bytes(content[:8], "little") + 8
        body = bytearray(content[header:])
        # Another valid value of each kind: flags of a mask, floats of importance and adapters.
        body[: len(body) // 2] = bytes(1 if byte == 0 else byte for byte in body[: len(body) // 2])
        path.write_bytes(content[:header] + bytes(body))
    elif path.suffix == ".jsonl":
        lines = content.splitlines(keepends=True)
        path.write_bytes(b"".join(lines[::-1]))
    elif path.suffix != ".json":
        path.write_bytes(content[::-1])
    else:
        value = json.loads(content)
        if "outputs" in value:
            value["outputs"] = {
                name: d | {"sha256": "0" * 64} for name, d in value["outputs"].items()
            }
        value["lora_alpha"] = 1
        path.write_text(json.dumps(value))


DEEP = b"[" * 100_000
WAYS: dict[str, Damage] = {
    "bit in the first hundredth": partial(flip, begin=0.0, end=0.01),
    "bit in the middle": partial(flip, begin=0.4, end=0.6),
    "bit in the last tenth": partial(flip, begin=0.9, end=1.0),
    "bit anywhere": partial(flip, begin=0.0, end=1.0),
    "cut to nothing": partial(cut, share=0.0),
    "cut to a half": partial(cut, share=0.5),
    "cut by a little": partial(cut, share=0.99),
    "a block of zeros": zero_block,
    "a byte more": append,
    "twice": twice,
    "all zeros": partial(replace, content=bytes(4096)),
    "null": partial(replace, content=b"null"),
    "a list": partial(replace, content=b"[]"),
    "not UTF-8": partial(replace, content=b'{"id": "\xff\xfe"}\n'),
    "deep nesting": partial(replace, content=DEEP),
    "a pickle": partial(replace, content=pickle.dumps({"a": 1})),
    "gone": remove,
    "a folder": make_folder,
    "a fifo": make_fifo,
    "a link to nowhere": partial(make_link, target="/nonexistent/file"),
    "a link to a device": partial(make_link, target="/dev/zero"),
    "halves exchanged": swap_rows,
    "of another run": other_run,
}


def cases(seed: int) -> Iterator[Case]:
    for stage, files in READS.items():
        for file in files:
            for way in WAYS:
                yield Case(
                    KIND,
                    f"{stage} reads {file}: {way}",
                    partial(_next_stage, stage, file, way, seed),
                )
    for stage in (*READS, "classify"):
        for way in ("bit in the middle", "cut by a little", "gone", "of another run"):
            yield Case(
                KIND,
                f"{stage} again over its own outputs: {way}",
                partial(_same_stage, stage, way, seed),
            )
            yield Case(KIND, f"status of {stage}: {way}", partial(_status, stage, way, seed))


def _next_stage(stage: str, file: str, way: str, seed: int, folder: Path) -> None:
    run_dir = pipeline().before(folder, stage)
    WAYS[way](run_dir / file, random.Random(f"{seed} {stage} {file} {way}"))
    logs = folder / "logs"
    logs.mkdir()
    done = run(pipeline().command(stage), logs, cwd=folder).require_sane()
    if done.code == 0:
        made = digests(run_dir / FOLDERS[stage])
        # A stage without a manifest is unfinished: `eval` says so and evaluates the others.
        said = way == "gone" and file.endswith("manifest.json") and "is unfinished" in done.err
        if made != pipeline().clean[stage] and not said:
            raise Lost(f"{stage} succeeded with another result")
        if not said and way != "a link to nowhere" and not _is_harmless(run_dir, file, way):
            raise Lost(f"{stage} succeeded and said nothing of the damage")
    elif not (name := Path(file).name) or (
        name not in done.err and Path(file).parts[0] not in done.err
    ):
        raise Lost(f"{stage} does not name the file: {done.err[:300]}")


def _is_harmless(run_dir: Path, file: str, way: str) -> bool:
    """Returns whether a stage may well succeed over a file that was damaged in this way.

    A manifest's own figures are protected by nothing; it must only stay readable.
    """
    return file.endswith("manifest.json") and way.startswith(("bit", "a byte more", "halves"))


def _same_stage(stage: str, way: str, seed: int, folder: Path) -> None:
    run_dir = pipeline().copy(folder, stage)
    target = run_dir / FOLDERS[stage]
    chance = random.Random(f"{seed} {stage} {way}")
    name = chance.choice(sorted(pipeline().clean[stage]))
    WAYS[way](target / name, chance)
    logs = folder / "logs"
    logs.mkdir()
    done = run(pipeline().command(stage), logs, cwd=folder).require_sane()
    if done.code == 0 and digests(target) != pipeline().clean[stage]:
        raise Lost(f"{stage} is up to date with a damaged `{name}`")


def _status(stage: str, way: str, seed: int, folder: Path) -> None:
    run_dir = pipeline().copy(folder, stage)
    target = run_dir / FOLDERS[stage]
    chance = random.Random(f"{seed} status {stage} {way}")
    name = chance.choice(sorted(pipeline().clean[stage]))
    WAYS[way](target / name, chance)
    logs = folder / "logs"
    logs.mkdir()
    done = run(["status", "--run-dir", "run", "--json"], logs, cwd=folder).require_sane()
    label = FOLDERS[stage]
    (row,) = [row for row in json.loads(done.out) if row["stage"] == label]
    if row["state"] == "done":
        raise Lost(f"status says done over a damaged `{name}`")
    shutil.rmtree(folder, ignore_errors=True)

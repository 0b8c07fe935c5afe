"""Links in place of folders; run directories that were copied or moved; inputs that are gone."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.faults.harness import Case, Lost, make_logs, run
from tests.faults.pipeline import (
    CHANGED,
    FOLDERS,
    READS,
    STAGES,
    other_result,
    pipeline,
    require_clean,
)

LINKS = "links"
COPIES = "copied and moved run directories"
MISSING = "missing inputs"
SWAPPED = "pieces of another run"


def cases(_: int) -> Iterator[Case]:
    for stage in STAGES:
        yield Case(LINKS, f"{stage}, run directory linked", partial(_linked_run_dir, stage))
        for finished in (False, True):
            name = f"{stage}, own folder linked, {'finished' if finished else 'empty'}"
            yield Case(LINKS, name, partial(_linked_folder, stage, finished))
        if stage in READS:
            yield Case(LINKS, f"{stage}, inputs linked", partial(_linked_inputs, stage))
            yield Case(MISSING, f"{stage}, status", partial(_missing_input, stage))
        for file in READS.get(stage, ()):
            if file.endswith("manifest.json"):
                continue
            check = partial(_changed_in_copy, stage, file)
            yield Case(COPIES, f"{stage}, {file} changed in the copy", check)
            check = partial(_changed_in_original, stage, file)
            yield Case(COPIES, f"{stage}, {file} changed in the original", check)
    yield Case(LINKS, "data linked", _linked_data)
    yield Case(LINKS, "run directory is a loop of links", _loop)
    for way in ("relative from below", "absolute", "from the run directory itself", "moved"):
        yield Case(COPIES, f"changed importance, {way}", partial(_seen_from, way))
    for stage in STAGES:
        yield Case(COPIES, f"{stage} in a moved run directory", partial(_up_to_date, stage))
        yield Case(COPIES, f"{stage} after its data moved", partial(_data_moved, stage))
        yield Case(SWAPPED, f"manifest of {stage}", partial(_swapped_manifest, stage))
        yield Case(SWAPPED, f"folder of {stage}", partial(_swapped_folder, stage))
    yield Case(MISSING, "data deleted, status", _data_deleted)
    for stage in ("score", "train-sft"):
        yield Case(COPIES, f"{stage} under another hash seed", partial(_other_hash_seed, stage))


def state_of(label: str, run_dir: str, logs: Path, cwd: Path) -> dict:
    """Returns the row of `status` for a stage."""
    done = run(["status", "--json", f"--run-dir={run_dir}"], logs, cwd=cwd).require_done()
    (row,) = [row for row in json.loads(done.out) if row["stage"] == label]
    return row


def _linked_run_dir(stage: str, folder: Path) -> None:
    logs = make_logs(folder)
    real = pipeline().before(folder, stage, "elsewhere/real")
    (folder / "run").symlink_to(real)
    run(pipeline().command(stage), logs, cwd=folder).require_done()
    require_clean(real, stage)
    if not (folder / "run").is_symlink():
        raise Lost("the link was replaced")


def _linked_folder(stage: str, finished: bool, folder: Path) -> None:
    """A stage folder on another disk works like any other, or is refused; nothing is lost of it."""
    logs = make_logs(folder)
    real = folder / "elsewhere" / stage
    run_dir = pipeline().before(folder, stage)
    if finished:
        shutil.copytree(pipeline().root / "run" / stage, real)
    else:
        real.mkdir(parents=True)
    (real.parent / "kept.txt").write_text("kept", encoding="utf-8")
    (run_dir / stage).symlink_to(real)
    done = run(pipeline().command(stage), logs, cwd=folder).require_sane()
    if done.code == 0:
        require_clean(run_dir, stage)
        run([*pipeline().command(stage), *CHANGED[stage]], logs, cwd=folder).require_sane()
    elif finished:
        require_clean(run_dir, stage)
    if (real.parent / "kept.txt").read_text(encoding="utf-8") != "kept":
        raise Lost("a file next to the linked folder was changed")
    if (run_dir / stage).is_symlink() and not real.is_dir():
        raise Lost("the link leads nowhere")


def _linked_inputs(stage: str, folder: Path) -> None:
    logs = make_logs(folder)
    run_dir = pipeline().before(folder, stage)
    (folder / "elsewhere").mkdir()
    for number, file in enumerate(READS[stage]):
        moved = folder / "elsewhere" / f"{number}"
        (run_dir / file).rename(moved)
        (run_dir / file).symlink_to(moved)
    done = run(pipeline().command(stage), logs, cwd=folder).require_sane()
    if done.code == 0:
        require_clean(run_dir, stage)


def _linked_data(folder: Path) -> None:
    logs = make_logs(folder)
    (folder / "data.jsonl").symlink_to(pipeline().data)
    run(
        ["classify", "data.jsonl", *pipeline().command("classify")[2:]], logs, cwd=folder
    ).require_done()
    require_clean(folder / "run", "classify")


def _loop(folder: Path) -> None:
    logs = make_logs(folder)
    (folder / "run").symlink_to(folder / "back")
    (folder / "back").symlink_to(folder / "run")
    for stage in STAGES:
        run(pipeline().command(stage), logs, cwd=folder).require_refused("run")
    run(["status", "--run-dir", "run"], logs, cwd=folder).require_refused("run")


def _change(path: Path) -> None:
    """Changes a file so that its size and its form stay."""
    content = bytearray(path.read_bytes())
    place = len(content) - 1
    if path.suffix == ".safetensors":
        content[place] ^= 1
    else:
        while not 48 <= content[place] <= 57:
            place -= 1
        content[place] = 48 + (content[place] - 47) % 10
    path.write_bytes(bytes(content))


def _changed_in_copy(stage: str, file: str, folder: Path) -> None:
    logs = make_logs(folder)
    pipeline().copy(folder, stage, "original")
    shutil.copytree(folder / "original", folder / "copy")
    _change(folder / "copy" / file)
    row = state_of(FOLDERS[stage], "copy", logs, folder)
    other = state_of(FOLDERS[stage], "original", logs, folder)
    if row["state"] == "done":
        raise Lost("status of the copy says done over a changed input")
    if other["state"] != "done":
        raise Lost(f"status of the original says {other['state']}")


def _changed_in_original(stage: str, file: str, folder: Path) -> None:
    logs = make_logs(folder)
    pipeline().copy(folder, stage, "original")
    shutil.copytree(folder / "original", folder / "copy")
    _change(folder / "original" / file)
    row = state_of(FOLDERS[stage], "copy", logs, folder)
    if row["state"] != "done":
        raise Lost(f"status of the copy says {row['state']}: {row['what']}")
    shutil.rmtree(folder / "original")
    row = state_of(FOLDERS[stage], "copy", logs, folder)
    if row["state"] != "done":
        raise Lost(f"without the original, status of the copy says {row['state']}: {row['what']}")
    done = run(pipeline().command(stage, "copy"), logs, cwd=folder).require_done()
    if "up to date" not in done.err:
        raise Lost("the copy is made again although nothing in it has changed")


def _seen_from(way: str, folder: Path) -> None:
    logs = make_logs(folder)
    run_dir = pipeline().copy(folder, "partition")
    (folder / "deep").mkdir()
    if way == "moved":
        run_dir = run_dir.rename(folder / "deep" / "other")
    _change(run_dir / "score" / "importance.safetensors")
    cwd, name = {
        "relative from below": (folder / "deep", "../run"),
        "absolute": (folder / "deep", str(run_dir)),
        "from the run directory itself": (run_dir, "."),
        "moved": (folder, "deep/other"),
    }[way]
    if state_of("partition", name, logs, cwd)["state"] == "done":
        raise Lost("status says done over a changed importance")


def _up_to_date(stage: str, folder: Path) -> None:
    logs = make_logs(folder)
    run_dir = pipeline().copy(folder, stage, "first")
    run_dir.rename(folder / "second")
    done = run(pipeline().command(stage, "second"), logs, cwd=folder).require_done()
    if "up to date" not in done.err:
        raise Lost("a moved result is made again")
    require_clean(folder / "second", stage)


def _data_moved(stage: str, folder: Path) -> None:
    """The data is needed to label it, and by nothing that comes after."""
    logs = make_logs(folder)
    shutil.copy(pipeline().data, folder / "data.jsonl")
    options = pipeline().command("classify")[2:]
    run(["classify", "data.jsonl", *options], logs, cwd=folder).require_done()
    (folder / "data.jsonl").unlink()
    if stage == "classify":
        done = run(["classify", "data.jsonl", *options], logs, cwd=folder)
        done.require_refused("data.jsonl")
        return
    for later in STAGES[1 : STAGES.index(stage)]:
        shutil.copytree(pipeline().root / "run" / later, folder / "run" / later)
    run(pipeline().command(stage), logs, cwd=folder).require_done()
    require_clean(folder / "run", stage)


def _swapped_manifest(stage: str, folder: Path) -> None:
    """A manifest stands for the files next to it, and for no others."""
    logs = make_logs(folder)
    run_dir = pipeline().copy(folder, "eval")
    shutil.copy(other_result(stage) / "manifest.json", run_dir / FOLDERS[stage])
    if state_of(FOLDERS[stage], "run", logs, folder)["state"] == "done":
        raise Lost("status says done over the manifest of another run")
    _require_noticed(stage, logs, folder)


def _require_noticed(stage: str, logs: Path, folder: Path) -> None:
    """Raises Lost if a later stage takes the swapped result for its own."""
    for later, files in READS.items():
        if not any(file.startswith(f"{stage}/") for file in files):
            continue
        command = [*pipeline().command(later), *CHANGED[later]]
        run(command, logs, cwd=folder).require_refused(stage)


def _swapped_folder(stage: str, folder: Path) -> None:
    """A whole result of another run makes stale what was made from the one before."""
    logs = make_logs(folder)
    run_dir = pipeline().copy(folder, "eval")
    shutil.rmtree(run_dir / FOLDERS[stage])
    shutil.copytree(other_result(stage), run_dir / FOLDERS[stage])
    for later, files in READS.items():
        if any(file.startswith(f"{stage}/") for file in files):
            state = state_of(FOLDERS[later], "run", logs, folder)["state"]
            if state == "done":
                raise Lost(f"status says that {later} is done")


def _missing_input(stage: str, folder: Path) -> None:
    logs = make_logs(folder)
    for file in READS[stage]:
        name = file.replace("/", "-")
        run_dir = pipeline().copy(folder, stage, name)
        (run_dir / file).unlink()
        if file.endswith("manifest.json"):
            continue
        row = state_of(FOLDERS[stage], name, logs, folder)
        if row["state"] == "done" or "missing" not in json.dumps(row):
            raise Lost(f"status says {row['state']} ({row['what']}) without {file}")


def _data_deleted(folder: Path) -> None:
    logs = make_logs(folder)
    shutil.copy(pipeline().data, folder / "data.jsonl")
    options = pipeline().command("classify")[2:]
    run(["classify", "data.jsonl", *options], logs, cwd=folder).require_done()
    (folder / "data.jsonl").unlink()
    row = state_of("classify", "run", logs, folder)
    if "missing" not in json.dumps(row):
        raise Lost(f"status does not say that the data is missing: {row}")


def _other_hash_seed(stage: str, folder: Path) -> None:
    """Equal runs are equal in their bytes, whatever order Python's sets have."""
    run_dir = pipeline().before(folder, stage)
    command = [sys.executable, "-m", "lorapar_cli", *pipeline().command(stage)]
    for number in (1, 2):
        environment = os.environ | {
            "PYTHONHASHSEED": str(number),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise Lost(done.stderr[-300:])
        require_clean(run_dir, stage)
        shutil.rmtree(run_dir / stage)

"""Names that few expect, of run directories, data, models and results."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.faults.copies import state_of
from tests.faults.harness import Case, Lost, digests, make_logs, run
from tests.faults.pipeline import FOLDERS, STAGES, pipeline, require_clean

NAMES = "odd names"

ODD = {
    "blanks": " two  words ",
    "quotes": 'it\'s "quoted" `so`',
    "newline": "two\nlines",
    "tabulator": "a\tb",
    "markup": "[red]bold[/red]",
    "closing markup": "[/]",
    "link markup": "[link=file:x]y",
    "leading dash": "-dash",
    "two dashes": "--run-dir",
    "emoji": "🦙🔥",
    "200 characters": "x" * 200,
    "200 bytes of accents": "é" * 100,
    "percent": "%s%d%n%%",
    "braces": "{x}{0}{{",
    "dollar": "$(touch pwned)`id`$HOME",
    "semicolon": ";exit 3;#",
    "colon": "a:b@c",
    "backslash": "back\\slash\\n",
    "equals and comma": "a=b,c",
    "star": "*?[a-z]",
    "tilde": "~nobody",
    "dots": "...",
    "right to left": "\u202eabc\u202c",
    "escape": "\x1b[31mred",
    "decomposed": "e\u0301",
    "looks like a number": "007",
    "looks like a model": "embedded",
    "not UTF-8": os.fsdecode(b"caf\xe9\xff"),
}
# Names at which each stage is tried; at the others two stages.
EVERYWHERE = (
    *("blanks", "quotes", "newline", "closing markup", "leading dash", "emoji", "200 characters"),
    *("200 bytes of accents", "percent", "braces", "escape", "not UTF-8"),
)
# Names that a file of JSON or of text in UTF-8 cannot hold: a clear refusal is right too.
MAY_REFUSE = ("not UTF-8",)


def cases(_: int) -> Iterator[Case]:
    for what in ODD:
        for stage in STAGES if what in EVERYWHERE else ("classify", "train-sft"):
            check = partial(_odd_run_dir, stage, what)
            yield Case(NAMES, f"{stage}, run directory with {what}", check)
        yield Case(NAMES, f"data file with {what}", partial(_odd_data, what))
        yield Case(NAMES, f"model folder with {what}", partial(_odd_model, what))
        yield Case(NAMES, f"--out with {what}", partial(_odd_out, what))
        yield Case(NAMES, f"status, report, inspect, {what}", partial(_odd_looks, what))
    yield Case(NAMES, "--out of 250 characters", _too_long_out)


def _arguments(stage: str, run_dir: str) -> list[str]:
    """Returns a stage's command with its run directory in one word, whatever that begins with."""
    return [*pipeline().command(stage)[:-2], f"--run-dir={run_dir}"]


def _odd_run_dir(stage: str, what: str, folder: Path) -> None:
    logs = make_logs(folder)
    run_dir = pipeline().before(folder, stage, ODD[what])
    done = run(_arguments(stage, ODD[what]), logs, cwd=folder).require_sane()
    if what in MAY_REFUSE and done.code != 0:
        done.require_refused("utf-8|utf8|unicode|name")
        return
    done.require_done()
    require_clean(run_dir, stage)
    if (state := state_of(FOLDERS[stage], ODD[what], logs, folder)["state"]) != "done":
        raise Lost(f"status says {state}")
    if (folder / "pwned").exists():
        raise Lost("a name was run as a command")


def _odd_data(what: str, folder: Path) -> None:
    logs = make_logs(folder)
    name = f"{ODD[what]}.jsonl"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(pipeline().data, folder / name)
    options = pipeline().command("classify")[2:]
    done = run(["classify", *options, "--", name], logs, cwd=folder).require_sane()
    if what in MAY_REFUSE and done.code != 0:
        done.require_refused("utf-8|utf8|unicode|name")
        return
    done.require_done()
    require_clean(folder / "run", "classify")


def _odd_model(what: str, folder: Path) -> None:
    """The name stands in the adapter's own files, so that only the figures can be compared."""
    logs = make_logs(folder)
    run_dir = pipeline().before(folder, "score")
    shutil.copytree(pipeline().model, folder / ODD[what] / "model")
    options = [*pipeline().command("score"), f"--model=./{ODD[what]}/model"]
    done = run(options, logs, cwd=folder).require_sane()
    if what in MAY_REFUSE and done.code != 0:
        done.require_refused("utf-8|utf8|unicode|name")
        return
    done.require_done()
    made = digests(run_dir / "score")
    for name in ("importance.safetensors", "adapter/adapter_model.safetensors"):
        if made[name] != pipeline().clean["score"][name]:
            raise Lost(f"{name} differs")


def _odd_out(what: str, folder: Path) -> None:
    logs = make_logs(folder)
    pipeline().before(folder, "partition")
    options = [*pipeline().command("partition"), f"--out={ODD[what]}"]
    done = run(options, logs, cwd=folder).require_sane()
    if what in MAY_REFUSE and done.code != 0:
        done.require_refused("utf-8|utf8|unicode|name")
        return
    done.require_done()
    if digests(folder / ODD[what]) != pipeline().clean["partition"]:
        raise Lost("another result than without the fault")


def _odd_looks(what: str, folder: Path) -> None:
    logs = make_logs(folder)
    name = ODD[what]
    pipeline().copy(folder, "eval", name)
    path = ["--", f"./{name}/partition"]
    for command in (["status", f"--run-dir={name}"], ["report", "--markdown", f"--run-dir={name}"]):
        run(command, logs, cwd=folder).require_done()
    for command in (["inspect", *path], ["inspect", "--json", *path]):
        run(command, logs, cwd=folder).require_done()
    run(
        ["report", "--markdown", f"--run-dir={name}", f"--out={name}.md"], logs, cwd=folder
    ).require_done()
    if not (folder / f"{name}.md").is_file():
        raise Lost("the report is not where it was to be")


def _too_long_out(folder: Path) -> None:
    """The folder itself could exist, hidden ones next to it could not."""
    logs = make_logs(folder)
    pipeline().before(folder, "partition")
    options = [*pipeline().command("partition"), "--out", "x" * 250]
    done = run(options, logs, cwd=folder).require_sane()
    if done.code != 0:
        done.require_refused("too long")

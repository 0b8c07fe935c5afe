"""Checkpoints as a trainer leaves them."""

from lorapar_cli.store.checkpoints import mark_complete

RUN = "digest of the run"


def write_checkpoint(work, step, marked=True, belongs_to=RUN, logs=()):
    folder = work / "checkpoints" / f"checkpoint-{step}"
    (folder / "inner").mkdir(parents=True)
    (folder / "weights").write_text("w" * 10 * step)
    (folder / "inner" / "state").write_text("s")
    if marked:
        mark_complete(folder, belongs_to, {name: log.state() for name, log in dict(logs).items()})
    return folder

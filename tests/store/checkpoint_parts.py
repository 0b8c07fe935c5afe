"""Checkpoints as a trainer leaves them."""

from lorapar_cli.store.checkpoints import mark_complete


def write_checkpoint(work, step, marked=True):
    folder = work / "checkpoints" / f"checkpoint-{step}"
    (folder / "inner").mkdir(parents=True)
    (folder / "weights").write_text("w" * 10 * step)
    (folder / "inner" / "state").write_text("s")
    if marked:
        mark_complete(folder)
    return folder

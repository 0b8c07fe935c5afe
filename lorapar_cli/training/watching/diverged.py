"""What to do about a training that left the finite numbers."""

from pathlib import Path

from lorapar_cli.store.checkpoints import has_checkpoint


def diverged_hint(checkpoints: str | Path) -> str:
    """Returns the hint of an error that ends such a training.

    Args:
        checkpoints: Folder that checkpoints are written to.
    """
    hint = "lower `--learning-rate`"
    if has_checkpoint(Path(checkpoints).parent):
        hint += (
            " and start over with `--overwrite`: the same command goes on from the last checkpoint, "
            "at the rate that it had"
        )
    return hint

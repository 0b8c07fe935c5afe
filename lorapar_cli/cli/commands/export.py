"""`lorapar export`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lorapar_cli.cli.console import progress_display, say, stdout
from lorapar_cli.cli.options import ModelOption, RunDirOption, TrustOption
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR


class What(StrEnum):
    """Which adapter of the run."""

    INIT = "init"
    SFT = "sft"
    RL = "rl"


def export(
    out: Annotated[Path, typer.Option(help="Folder to write; new or empty.")],
    what: Annotated[
        What, typer.Option(help="Adapter as scored (init), after SFT, or after RL.")
    ] = What.RL,
    merge: Annotated[
        bool, typer.Option("--merge", help="Write the base model with the adapter merged in.")
    ] = False,
    dtype: Annotated[
        str,
        typer.Option(help="Of merged weights: auto (as the base is stored), float32, bfloat16..."),
    ] = "auto",
    model: ModelOption = None,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    trust_remote_code: TrustOption = False,
) -> None:
    """Write an adapter or merged weights for use without lorapar, checked by their logits."""
    from lorapar_cli.store.run_dir import RunDir
    from lorapar_cli.tools import export as stage

    with progress_display() as progress:
        difference = stage.export(
            RunDir(run_dir),
            what=what.value,
            out=out,
            merge=merge,
            dtype=dtype,
            model=model,
            trust_remote_code=trust_remote_code,
            progress=progress,
        )
    kind = "merged model" if merge else "adapter"
    stdout().print(f"{kind}: {out}")
    say(f"checked: logits differ from the trained model's by {difference:.1e} at most")

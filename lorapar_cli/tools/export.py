"""`export`: a run's adapter or its merged weights, for use without lorapar."""

from dataclasses import dataclass
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.events import Advance, Progress, silent
from lorapar_cli.names import Artifact, Dtype
from lorapar_cli.options import Options, model_option, option, required, trust_option
from lorapar_cli.store.atomic import new_folder
from lorapar_cli.store.run_dir import ADAPTERS, AdapterName, RunDir


@dataclass(frozen=True)
class ExportOptions(Options):
    """Options of `export`.

    Raises:
        UsageError: An option has no such value.
    """

    out: Path = required("Folder to write; new or empty.")
    what: AdapterName = option("rl", "Adapter as scored (init), after SFT, or after RL.")
    merge: bool = option(False, "Write the base model with the adapter merged in.")
    dtype: Dtype = option(
        "auto", "Data type of merged weights; `auto` is that of the base model's files."
    )
    model: str | None = model_option()
    trust_remote_code: bool = trust_option()


def export(run_dir: RunDir, options: ExportOptions, *, progress: Progress = silent) -> float:
    """Writes the adapter of a stage, or the base model with it merged in, into a new folder.

    Returns:
        Largest absolute difference of a logit from the trained model's.

    Raises:
        LoraparError: The stage has not finished, the folder is not empty, or the export does not
            compute what was trained; nothing is written then.
    """
    stage, out = ADAPTERS[options.what], options.out
    folder = run_dir.require(stage, f"adapter of `{options.what}`", "--what")
    base_id, _ = run_dir.base_of_adapter(options.model)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LoraparError(f"`{out}` is not empty", hint="choose a new folder with `--out`")
    progress(Advance("loading the base model"))
    from lorapar_cli.models import export as exporting
    from lorapar_cli.models.base_model import find_base_model

    base = find_base_model(base_id, options.trust_remote_code)
    with new_folder(out) as built:
        return exporting.export(
            base,
            folder / Artifact.ADAPTER,
            built,
            options.merge,
            options.dtype,
            options.trust_remote_code,
            run_dir.template(),
        )

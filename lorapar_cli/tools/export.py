"""`export`: a run's adapter or its merged weights, for use without lorapar."""

from dataclasses import dataclass
from pathlib import Path

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.events import Advance, Progress, silent
from lorapar_cli.model_options import model_option, trust_option
from lorapar_cli.models.rendering.chat_template import ChatTemplate, read_arguments
from lorapar_cli.names import Artifact, Dtype
from lorapar_cli.options import Options, option, required
from lorapar_cli.store.atomic import new_folder
from lorapar_cli.store.run_dir import ADAPTERS, AdapterName, RunDir
from lorapar_cli.store.verify import check_folder


@dataclass(frozen=True)
class ExportOptions(Options):
    """Options of `export`.

    Raises:
        UsageError: An option has no such value.
    """

    out: Path = required("Folder to write; new or empty.")
    what: AdapterName = option("rl", "Adapter as scored (init), after SFT, or after RL.")
    merge: bool = option(
        False, "Write the base model with the adapter merged in, one file of weights at a time."
    )
    dtype: Dtype = option(
        "auto", "Data type of merged weights; `auto` is that of the base model's files."
    )
    check_logits: bool = option(
        False,
        "Also load what was trained and what was written, and compare the logits of a few prompts. "
        "Needs memory for the whole model in float32.",
    )
    model: str | None = model_option()
    trust_remote_code: bool = trust_option()


def export(run_dir: RunDir, options: ExportOptions, *, progress: Progress = silent) -> float | None:
    """Writes the adapter of a stage, or the base model with it merged in, into a new folder.

    Returns:
        With `check_logits`, the largest absolute difference of a logit from the trained model's.

    Raises:
        UsageError: `--dtype` without `--merge`.
        LoraparError: The stage has not finished, the folder is not empty, or the export is not what
            was trained; nothing is written then.
    """
    stage, out = ADAPTERS[options.what], options.out
    if options.dtype != "auto" and not options.merge:
        raise UsageError(
            f"`--dtype {options.dtype}` is of merged weights",
            "an adapter is always float32",
            "omit it, or add `--merge`",
        )
    folder = run_dir.require(stage, f"adapter of `{options.what}`", "--what")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LoraparError(f"`{out}` is not empty", hint="choose a new folder with `--out`")
    base_id, revision = run_dir.base_of_adapter(options.model)
    check_folder(folder / Artifact.ADAPTER)
    trust, adapter = options.trust_remote_code, folder / Artifact.ADAPTER
    progress(Advance("merging" if options.merge else "copying the adapter"))
    from lorapar_cli.models import export as exporting
    from lorapar_cli.models.base_model import find_base_model

    with new_folder(out) as built:
        if not options.merge:
            exporting.copy_adapter(adapter, built)
        if not options.merge and not options.check_logits:
            return None
        base = find_base_model(base_id, trust)
        if revision is not None and base.revision != revision:
            raise LoraparError(
                f"base model `{base_id}` is not the one that the adapter was made for",
                f"revision was {revision}, is {base.revision}",
                "restore it, or name another with `--model`",
            )
        if options.merge:
            exporting.merge(
                base,
                adapter,
                built,
                options.dtype,
                trust,
                ChatTemplate(
                    run_dir.template(stage),
                    read_arguments(run_dir.template_arguments(stage)),
                    defaults=True,
                ),
                known=revision is not None,
            )
        if not options.check_logits:
            return None
        progress(Advance("comparing logits"))
        return exporting.compare_logits(base, adapter, built, options.merge, trust)

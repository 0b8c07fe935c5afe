"""`export`: a run's adapter or its merged weights, for use without lorapar."""

from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.events import Advance, Progress, silent
from lorapar_cli.store.atomic import new_folder
from lorapar_cli.store.run_dir import ADAPTERS, RunDir


def export(
    run_dir: RunDir,
    *,
    what: str,
    out: Path,
    merge: bool,
    dtype: str,
    model: str | None = None,
    trust_remote_code: bool = False,
    progress: Progress = silent,
) -> float:
    """Writes the adapter of a stage, or the base model with it merged in, into a new folder.

    Args:
        what: `init` (as scored), `sft` or `rl`.
        out: Folder that does not exist yet or is empty.
        merge: Merged weights instead of an adapter.
        dtype: Of merged weights; `auto` is what the base model is stored in.

    Returns:
        Largest absolute difference of a logit from the trained model's.

    Raises:
        LoraparError: The stage has not finished, `out` holds something, or the export does not
            compute what was trained; nothing is written then.
    """
    stage = ADAPTERS[what]
    adapter = run_dir.require(stage, f"adapter of `{what}`", "--what") / "adapter"
    base_id, _ = run_dir.base_of_adapter(model)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LoraparError(f"`{out}` is not empty", hint="name a new folder with `--out`")
    progress(Advance("loading the base model"))
    from lorapar_cli.models import export as exporting
    from lorapar_cli.models.base_model import find_base_model

    base = find_base_model(base_id, trust_remote_code)
    with new_folder(out) as built:
        return exporting.export(
            base, adapter, built, merge, dtype, trust_remote_code, run_dir.template()
        )

"""Which models are evaluated, and whether they belong to the base model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.names import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Artifact, Stage
from lorapar_cli.store.run_dir import ADAPTERS, RunDir

if TYPE_CHECKING:
    from lorapar_cli.models.base_model import BaseModel

BASE = "base"
TRAINED = {name: ADAPTERS[name] for name in ("sft", "rl")}

Models = dict[str, Path | None]
"""Model name -> adapter folder, None for the base model."""


def choose_models(run_dir: RunDir, adapter: Sequence[str] | None) -> Models:
    """Returns the models to evaluate, the base model first.

    Args:
        adapter: `base`, `sft`, `rl` or `NAME=FOLDER` each; None for all that the run has.

    Raises:
        LoraparError, UsageError: A name is unknown or given twice, or its adapter does not exist.
    """
    if adapter is None:
        found = [name for name, stage in TRAINED.items() if run_dir.manifest(stage) is not None]
        adapter = [BASE, *found]
    models: Models = {BASE: None} if BASE in adapter else {}
    for entry in adapter:
        name, equals, path = entry.partition("=")
        if equals and (not name or name == BASE):
            raise UsageError(f"`--adapter {entry}` needs a name of its own before `=`")
        if name in models and name != BASE:
            raise UsageError(
                f"`--adapter` names two models `{name}`",
                ", ".join(f"`{each}`" for each in adapter if each.partition("=")[0] == name),
                "give each a name of its own: `NAME=FOLDER`",
            )
        if equals:
            models[name] = Path(path)
        elif name in TRAINED:
            folder = run_dir.require(TRAINED[name], "adapter", "--adapter")
            models[name] = folder / Artifact.ADAPTER
        elif name != BASE:
            raise UsageError(
                f"unknown adapter `{name}`{nearest(name, [BASE, *TRAINED])}",
                hint=f"known: {BASE}, {', '.join(TRAINED)}, or give a folder: `NAME=FOLDER`",
            )
    return models


def unfinished_adapters(run_dir: RunDir, models: Models) -> list[Stage]:
    """Returns the training stages that have begun, have no result, and are not among the models."""
    return [
        stage
        for name, stage in TRAINED.items()
        if name not in models and run_dir.folder(stage).exists() and run_dir.manifest(stage) is None
    ]


def check_base(run_dir: RunDir, models: Models, base: "BaseModel", revision: str | None) -> None:
    """Checks that the run's adapters were trained on this very base model.

    Args:
        revision: That the run directory remembers of the base model, None where it does not.

    Raises:
        LoraparError: One was trained on another, or on another revision.
    """
    trained = {
        name: run_dir.manifest(stage)
        for name, stage in TRAINED.items()
        if models.get(name) == run_dir.folder(stage) / Artifact.ADAPTER
    }
    on_others = {
        name: manifest.base_model
        for name, manifest in trained.items()
        if manifest is not None
        and manifest.base_model is not None
        and manifest.base_model != base.to_manifest()
    }
    if on_others or revision not in (None, base.revision):
        name, other = next(iter(on_others.items()), (BASE, {"id": base.id, "revision": revision}))
        raise LoraparError(
            f"model `{name}` does not belong to this base model",
            f"made on `{other['id']}` ({other['revision']}), this is `{base.id}` ({base.revision})",
            "name the base model it was made on with `--model`, or train again",
        )


def adapter_files(models: Models) -> dict[str, Path]:
    """Returns the files that decide what the adapters are, for `describe_inputs`."""
    from lorapar_cli.models.peft_adapter import check_adapter

    files = {}
    for name, folder in models.items():
        if folder is not None:
            check_adapter(folder)
            files[f"{name}/config"] = folder / ADAPTER_CONFIG
            files[f"{name}/weights"] = folder / ADAPTER_WEIGHTS
    return files

"""Which models are evaluated, and whether they belong to the base model."""

from pathlib import Path
from typing import TYPE_CHECKING

from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.names import Stage
from lorapar_cli.store.run_dir import RunDir

if TYPE_CHECKING:
    from lorapar_cli.models.base_model import BaseModel


BASE = "base"


TRAINED = {"sft": Stage.TRAIN_SFT, "rl": Stage.TRAIN_RL}


Models = dict[str, Path | None]
"""Model name -> adapter folder, None for the base model."""


def choose_models(run_dir: RunDir, adapter: list[str] | None) -> Models:
    """Returns model name -> adapter folder (None for the base model), the base model first.

    Raises:
        LoraparError, UsageError: A name is unknown, or its adapter is not there.
    """
    if adapter is None:
        found = [name for name, stage in TRAINED.items() if run_dir.manifest(stage) is not None]
        adapter = [BASE, *found]
    models: Models = {}
    for entry in adapter:
        name, equals, path = entry.partition("=")
        if equals and (not name or name == BASE):
            raise UsageError(f"`--adapter {entry}` needs a name of its own before `=`")
        if equals:
            models[name] = Path(path)
        elif name == BASE:
            models = {BASE: None} | models
        elif name in TRAINED:
            models[name] = run_dir.require(TRAINED[name], "adapter", "--adapter") / "adapter"
        else:
            raise UsageError(
                f"unknown adapter `{name}`{nearest(name, [BASE, *TRAINED])}",
                hint=f"known: {BASE}, {', '.join(TRAINED)}, or give a folder: `NAME=FOLDER`",
            )
    return models


def check_base(run_dir: RunDir, models: Models, base: "BaseModel", known: str | None) -> None:
    """Checks that the run's adapters were trained on this very base model."""
    trained = {
        name: run_dir.manifest(stage)
        for name, stage in TRAINED.items()
        if models.get(name) == run_dir.folder(stage) / "adapter"
    }
    on_others = {
        name: manifest.base_model
        for name, manifest in trained.items()
        if manifest is not None
        and manifest.base_model is not None
        and manifest.base_model != base.to_manifest()
    }
    if on_others or known not in (None, base.revision):
        name, other = next(iter(on_others.items()), (BASE, {"id": base.id, "revision": known}))
        raise LoraparError(
            f"model `{name}` does not belong to this base model",
            f"made on `{other['id']}` ({other['revision']}), this is `{base.id}` ({base.revision})",
            "name the base model it was made on with `--model`, or train again",
        )


def adapter_files(models: Models) -> dict[str, Path]:
    """Returns the files that decide what the adapters are, for `describe_inputs`."""
    from lorapar_cli.models.adapter import read_adapter_config

    files = {}
    for name, folder in models.items():
        if folder is not None:
            read_adapter_config(folder)
            files[f"{name}/config"] = folder / "adapter_config.json"
            files[f"{name}/weights"] = folder / "adapter_model.safetensors"
    return files

"""LoRA adapters: created, loaded, named and saved."""

import copy
import json
import os
import shutil
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from transformers import set_seed

from lorapar_cli.elements.rank_doubling import trained_half
from lorapar_cli.errors import LoraparError
from lorapar_cli.models import lora_inits as inits
from lorapar_cli.models.adapter_targets import adapter_config, stacked_experts
from lorapar_cli.models.data_inits import InitData, look_at_data
from lorapar_cli.models.safe_loading import check_patterns, library_errors
from lorapar_cli.names import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from lorapar_cli.store.disk.regular_files import read_json, remove, require_regular
from lorapar_cli.store.tensor_files import layout_fingerprint, read_shapes, write_tensors
from lorapar_cli.store.verify import check_folder


def create_adapter(
    base: torch.nn.Module,
    *,
    r: int,
    lora_alpha: int,
    target_modules: list[str],
    init: str,
    seed: int,
    init_scale: float | None = None,
    data: InitData | None = None,
) -> PeftModel:
    """Returns the base model with a new trainable float32 LoRA adapter.

    The base weights stay as they are. Inits that would change them (`pissa`, `olora`, `corda`,
    `lora_ga`) become the equivalent adapter of rank 2r, whose second half must not be trained
    (`elements.rank_doubling`).

    Args:
        base: A causal or encoder-decoder LM; its modules are wrapped in place.
        init: One of `models.lora_inits.INITS`. `orthogonal` leaves the model's function unchanged
            and makes A and B non-zero, so that every element has an importance.
        seed: Determines A and B completely.
        init_scale: Standard deviation of A and B for `gaussian`; None for PEFT's, where B = 0.
        data: Input of `corda`, `lora_ga`, `eva` and `loftq`; None for the others.

    Raises:
        LoraparError: No module has one of the target names, they include routed experts, or the
            init refuses these settings.
    """
    targets = sorted(target_modules)
    experts = stacked_experts(base)
    config = adapter_config(base, r, lora_alpha, targets, init, experts)
    set_seed(seed)
    try:
        found = look_at_data(base, init, r, lora_alpha, targets, data)
        model = cast(PeftModel, get_peft_model(base, config, autocast_adapter_dtype=True))
        if config.target_parameters:
            # For some models PEFT takes names that experts had before they were stacked for these.
            reached = sorted(set(targets) - set(config.target_modules or ()))
            raise LoraparError(
                f"target modules include routed experts: `{', '.join(reached)}`",
                experts,
                "choose others with `--target-modules`",
            )
        inits.set_initial(model, init, r, lora_alpha, found, data.whole if data else None)
    except (ValueError, TypeError) as cause:
        raise LoraparError(
            f"cannot create the adapter with init `{init}`",
            str(cause) + (f"\n{experts}" if experts else ""),
        ) from cause
    if init_scale is not None:
        inits.set_gaussian(adapter_parameters(model), init_scale)
    inits.require_finite(adapter_parameters(model), init)
    return model


def read_adapter_config(folder: Path) -> PeftConfig:
    """Returns an adapter folder's PEFT configuration.

    Raises:
        LoraparError: The folder is missing or does not contain an adapter.
    """
    path = folder / ADAPTER_CONFIG
    if not os.path.lexists(path):
        raise LoraparError(
            f"no adapter in `{folder}`",
            f"`{ADAPTER_CONFIG}` is missing",
            "an adapter is a folder that PEFT wrote, for instance `lorapar-run/score/adapter`",
        )
    check_folder(folder)
    if not isinstance(read_json(path), dict):
        raise LoraparError(f"`{path}` is damaged", "it is not a JSON object")
    try:
        return PeftConfig.from_pretrained(str(folder))
    except Exception as cause:
        # Anything may stand in a configuration, and PEFT raises whatever comes of it.
        raise LoraparError(f"`{path}` is damaged", f"{type(cause).__name__}: {cause}") from cause


def read_lora_config(folder: Path) -> LoraConfig:
    """Returns a LoRA adapter folder's PEFT configuration.

    Raises:
        LoraparError: The folder does not contain an adapter, or one of another kind.
    """
    config = read_adapter_config(folder)
    if not isinstance(config, LoraConfig):
        raise LoraparError(
            f"`{folder}` is not a LoRA adapter", f"its `peft_type` is {config.peft_type}"
        )
    if not os.path.lexists(folder / ADAPTER_WEIGHTS):
        raise LoraparError(
            f"no adapter in `{folder}`",
            f"`{ADAPTER_WEIGHTS}` is missing; pickled adapters are not read",
            "save the adapter with PEFT's `safe_serialization`",
        )
    require_regular(folder / ADAPTER_WEIGHTS)
    _require_plain(folder, config)
    return config


def _require_plain(folder: Path, config: LoraConfig) -> None:
    """Refuses an adapter that changes more of a model than LoRA's two matrices do.

    Raises:
        LoraparError: Names what it changes.
    """
    more = {
        "DoRA's magnitudes (`use_dora`)": config.use_dora,
        f"biases (`bias: {config.bias}`)": config.bias != "none",
        "biases of B (`lora_bias`)": config.lora_bias,
        "whole modules (`modules_to_save`)": config.modules_to_save,
        "tokens of the vocabulary (`trainable_token_indices`)": config.trainable_token_indices,
    }
    if found := [name for name, is_set in more.items() if is_set]:
        raise LoraparError(
            f"adapter `{folder}` contains more than LoRA matrices",
            f"it also has {', '.join(found)}",
            "use an adapter of LoRA matrices only",
        )


def load_adapter(
    base: torch.nn.Module, folder: Path, *, trainable: bool, dropout: float | None = None
) -> PeftModel:
    """Returns the base model with a saved adapter, its parameters in float32.

    Args:
        trainable: PEFT loads for inference by default, where training would change nothing.
        dropout: LoRA dropout; must be set here, since it cannot be changed once modules exist.

    Raises:
        LoraparError: There is no adapter, or its tensors do not fit this base model.
    """
    config = read_lora_config(folder)
    if dropout is not None:
        config.lora_dropout = dropout
    # The values are loaded: an init would waste time, and change the base for some inits.
    config.init_lora_weights = True
    weights = folder / ADAPTER_WEIGHTS
    shapes = read_shapes(weights)
    check_patterns(folder, config, [name for name, _ in base.named_modules()])
    with library_errors(
        f"adapter `{folder}` does not fit the base model",
        "use the base model that the adapter was made for",
    ):
        model = PeftModel.from_pretrained(
            base, str(folder), is_trainable=trainable, config=config, autocast_adapter_dtype=True
        )
    # PEFT only warns of tensors that are missing, and leaves them at random values.
    parameters = adapter_parameters(model)
    if differing := sorted(shapes.keys() ^ parameters.keys()):
        raise LoraparError(
            f"adapter `{folder}` does not fit the base model",
            f"`{differing[0]}` is {'left over' if differing[0] in shapes else 'missing'} in "
            f"`{weights.name}`",
            "use the base model that the adapter was made for",
        )
    for name, parameter in parameters.items():
        if not torch.isfinite(parameter).all():
            raise LoraparError(
                f"adapter `{folder}` has values that are not finite", f"NaN or infinity in `{name}`"
            )
    return model


def adapter_parameters(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    """Returns the LoRA matrices by their key in PEFT's `adapter_model.safetensors`, sorted.

    A is `[r, in_features]`, B is `[out_features, r]`, both float32.

    Raises:
        LoraparError: The adapter contains other tensors.
    """
    found = {
        name.replace(".default.", "."): parameter
        for name, parameter in model.named_parameters()
        if ".lora_A.default." in name or ".lora_B.default." in name
    }
    saved = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if set(found) != saved:
        raise LoraparError(
            "this adapter contains more than LoRA matrices",
            ", ".join(sorted(saved ^ set(found))[:5]),
            "adapters with saved modules, embeddings or DoRA are not supported",
        )
    return dict(sorted(found.items()))


def lora_config(model: PeftModel) -> LoraConfig:
    """Returns the configuration of the model's LoRA adapter; changing it changes the model's."""
    return cast(LoraConfig, model.peft_config["default"])


def model_fingerprint(model: PeftModel) -> str:
    """Returns the layout fingerprint of the model's adapter."""
    return layout_fingerprint({n: tuple(p.shape) for n, p in adapter_parameters(model).items()})


_README = """---
library_name: peft
pipeline_tag: text-generation
tags:
- lora
- lora-par
- lorapar
---

# LoRA adapter made with lorapar

`manifest.json` next to this folder says how. `lorapar export --card` writes a model card from it.
"""


def save_adapter(
    model: PeftModel, folder: Path, values: dict[str, torch.Tensor] | None = None
) -> None:
    """Writes the adapter as a plain PEFT folder that loads on the unmodified base model.

    What the folder held before is removed: PEFT would keep other files.

    Args:
        values: Name -> matrix, names as in the file; None for those of the model.
    """
    _clear(folder)
    state = None
    if values is not None:
        suffix = ".weight"
        state = {f"{n.removesuffix(suffix)}.default{suffix}": v for n, v in values.items()}
    # The saved values are the adapter: loading must not run an init first.
    config = lora_config(model)
    init, config.init_lora_weights = config.init_lora_weights, True
    training, config.inference_mode = config.inference_mode, True
    try:
        model.save_pretrained(
            str(folder),
            selected_adapters=["default"],
            save_embedding_layers=False,
            state_dict=state,
        )
        _sort_targets(folder / ADAPTER_CONFIG)
        # PEFT's own is an empty form with the path of the base model.
        (folder / "README.md").write_text(_README, encoding="utf-8")
        # The library's writer lets nobody else read its file, whatever the umask says.
        shutil.copymode(folder / "README.md", folder / ADAPTER_WEIGHTS)
    finally:
        config.init_lora_weights, config.inference_mode = init, training


def _clear(folder: Path) -> None:
    """Empties the folder of an adapter, or makes it."""
    if folder.is_symlink():
        folder.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        remove(path)


def _sort_targets(path: Path) -> None:
    """Rewrites PEFT's configuration with its target modules in order: PEFT writes them as a set."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for key, value in content.items():
        if key.endswith("_modules") and isinstance(value, list):
            content[key] = sorted(value)
    path.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")


def save_raw_adapter(
    model: PeftModel, r: int, folder: Path, values: dict[str, torch.Tensor] | None = None
) -> None:
    """Writes the raw part of a rank-2r adapter, with the mask's names and shapes.

    Alone it does not compute the model's function: `adapter/` next to it does
    (`elements.rank_doubling`).

    Args:
        values: Name -> matrix of rank 2r; None for those of the model.
    """
    _clear(folder)
    raw = {
        name: trained_half(name, parameter.detach(), r).cpu().contiguous().numpy()
        for name, parameter in (values or adapter_parameters(model)).items()
    }
    config = copy.copy(lora_config(model))
    config.lora_alpha = config.lora_alpha * r // config.r
    config.r, config.init_lora_weights, config.inference_mode = r, True, True
    config.save_pretrained(str(folder))
    _sort_targets(folder / ADAPTER_CONFIG)
    write_tensors(folder / "adapter_model.safetensors", raw, {"format": "pt"})

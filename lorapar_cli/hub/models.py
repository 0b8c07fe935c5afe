"""Base models and LoRA adapters: found, loaded, created, named and saved."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, set_seed
from transformers.utils import logging as transformers_logging

import lorapar_cli
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import EMBEDDED
from lorapar_cli.store.manifest import sha256_file
from lorapar_cli.store.tensors import layout_fingerprint

# Bars and notices of the library would be drawn over our own display.
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

_WHOLE_FILE_BYTES = 64 * 2**20
_EDGE_BYTES = 2**20


@dataclass(frozen=True)
class BaseModel:
    """A base model as the run directory remembers it.

    Attributes:
        id: What the user said: `embedded`, a folder (made absolute) or a hub id.
        path: What transformers loads.
        revision: Hub commit, or `local:` and a digest of config and weights.
        max_length: Tokens that the model's positions reach, where its config says so.
    """

    id: str
    path: str
    revision: str | None
    max_length: int | None = None

    def to_manifest(self) -> dict[str, str | None]:
        """Returns the manifest's `base_model` value."""
        return {"id": self.id, "revision": self.revision}


def find_base_model(name: str, trust_remote_code: bool = False) -> BaseModel:
    """Returns the base model of that name without loading its weights.

    Raises:
        LoraparError: There is no such folder or hub model, or it is no model.
    """
    path = Path(lorapar_cli.__file__).parent / "embedded" / "model" if name == EMBEDDED else name
    folder = Path(path)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as cause:
        raise LoraparError(
            f"cannot load base model `{name}`",
            str(cause).strip().splitlines()[0],
            "give `--model` a folder with config.json and weights, a hub id, or `embedded`",
        ) from cause
    text_config = config.get_text_config()
    longest = getattr(text_config, "max_position_embeddings", None)
    if folder.is_dir():
        identity = name if name == EMBEDDED else str(folder.resolve())
        return BaseModel(identity, str(path), f"local:{_digest_folder(folder)}", longest)
    return BaseModel(name, name, getattr(config, "_commit_hash", None), longest)


def _digest_folder(folder: Path) -> str:
    """Returns a short digest of config and weights; of large files only size and both ends."""
    digest = hashlib.sha256()
    for path in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        if size <= _WHOLE_FILE_BYTES:
            digest.update(sha256_file(path).encode())
            continue
        with open(path, "rb") as file:
            digest.update(file.read(_EDGE_BYTES))
            file.seek(-_EDGE_BYTES, 2)
            digest.update(file.read())
    return digest.hexdigest()[:16]


def pick_device() -> torch.device:
    """Returns this process's GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Returns the base model's dtype for `auto`, `float32`, `bfloat16` or `float16`.

    `auto` is bfloat16 on a GPU that computes it and float32 elsewhere.
    """
    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    return getattr(torch, name)


def load_base(
    base: BaseModel, dtype: str = "auto", trust_remote_code: bool = False
) -> torch.nn.Module:
    """Returns the base model in evaluation mode on this process's device."""
    device = pick_device()
    model = AutoModelForCausalLM.from_pretrained(
        base.path, dtype=pick_dtype(dtype, device), trust_remote_code=trust_remote_code
    )
    return model.to(device).eval()


def load_tokenizer(base: BaseModel, trust_remote_code: bool = False):
    """Returns the tokenizer, with a pad token that is not treated as text."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(base.path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as cause:
        raise LoraparError(
            f"cannot load the tokenizer of `{base.id}`", str(cause).strip().splitlines()[0]
        ) from cause
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def create_adapter(
    base: torch.nn.Module,
    *,
    r: int,
    lora_alpha: int,
    target_modules: list[str],
    init: str,
    seed: int,
) -> PeftModel:
    """Returns the base model with a new trainable float32 LoRA adapter.

    Args:
        base: A causal LM; its modules are wrapped in place.
        init: PEFT's `init_lora_weights`. `orthogonal` leaves the model's function unchanged and
            makes A and B non-zero, so that every element has an importance.
        seed: Decides A and B completely.

    Raises:
        LoraparError: No module has one of the target names, or the init refuses these settings.
    """
    names = {name.rsplit(".", 1)[-1] for name, m in base.named_modules() if _is_linear(m)}
    if missing := [target for target in target_modules if target not in names]:
        raise LoraparError(
            f"target modules match nothing: `{', '.join(missing)}`",
            f"linear modules of this model: {', '.join(sorted(names))}",
            "choose from these with `--target-modules`",
        )
    config = LoraConfig(
        r=r,
        lora_alpha=lora_alpha,
        target_modules=sorted(target_modules),
        lora_dropout=0.0,
        init_lora_weights=init,
        task_type="CAUSAL_LM",
    )
    set_seed(seed)
    try:
        model = get_peft_model(base, config, autocast_adapter_dtype=True)
    except ValueError as cause:
        raise LoraparError(f"cannot create the adapter with init `{init}`", str(cause)) from cause
    return model


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"


def read_adapter_config(folder: Path) -> PeftConfig:
    """Returns an adapter folder's PEFT configuration.

    Raises:
        LoraparError: The folder is missing or holds no adapter.
    """
    if not (folder / "adapter_config.json").is_file():
        raise LoraparError(
            f"no adapter in `{folder}`",
            "`adapter_config.json` is missing",
            "an adapter is a folder that PEFT wrote, for instance `lorapar-run/score/adapter`",
        )
    try:
        return PeftConfig.from_pretrained(str(folder))
    except (ValueError, TypeError, json.JSONDecodeError) as cause:
        raise LoraparError(f"`{folder}/adapter_config.json` is damaged", str(cause)) from cause


def load_adapter(
    base: torch.nn.Module, folder: Path, *, trainable: bool, dropout: float | None = None
) -> PeftModel:
    """Returns the base model with a saved adapter, its parameters in float32.

    Args:
        trainable: PEFT loads for inference by default, where training would change nothing.
        dropout: LoRA dropout; must be set here, since it cannot be changed once modules exist.

    Raises:
        LoraparError: No adapter there, or its tensors do not fit this base model.
    """
    config = read_adapter_config(folder)
    if dropout is not None:
        config.lora_dropout = dropout
    # Drawing the initial values again would be wasted, and for inits that change the base wrong.
    config.init_lora_weights = True
    try:
        model = PeftModel.from_pretrained(
            base, str(folder), is_trainable=trainable, config=config, autocast_adapter_dtype=True
        )
    except (RuntimeError, ValueError, KeyError) as cause:
        raise LoraparError(
            f"adapter `{folder}` does not fit the base model",
            str(cause).strip().splitlines()[0],
            "use the base model that the adapter was made for",
        ) from cause
    return model


def adapter_parameters(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    """Returns the LoRA matrices by their key in PEFT's `adapter_model.safetensors`, sorted.

    A is `[r, in_features]`, B is `[out_features, r]`, both float32.
    """
    found = {
        name.replace(".default.", "."): parameter
        for name, parameter in model.named_parameters()
        if ".lora_A.default." in name or ".lora_B.default." in name
    }
    saved = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if set(found) != saved:
        raise LoraparError(
            "this adapter holds more than LoRA matrices",
            ", ".join(sorted(saved ^ set(found))[:5]),
            "adapters with saved modules, embeddings or DoRA are not supported",
        )
    return dict(sorted(found.items()))


def model_fingerprint(model: PeftModel) -> str:
    """Returns the layout fingerprint of the model's adapter."""
    return layout_fingerprint({n: tuple(p.shape) for n, p in adapter_parameters(model).items()})


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Writes the adapter as a plain PEFT folder that loads on the unmodified base model."""
    # The saved values are the adapter: loading must not draw an initialisation first.
    config = model.peft_config["default"]
    drawn, config.init_lora_weights = config.init_lora_weights, True
    training, config.inference_mode = config.inference_mode, True
    try:
        model.save_pretrained(
            str(folder), selected_adapters=["default"], save_embedding_layers=False
        )
    finally:
        config.init_lora_weights, config.inference_mode = drawn, training

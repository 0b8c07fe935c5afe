"""Finding and loading the base model and its tokenizer."""

import importlib.util
from dataclasses import dataclass

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BitsAndBytesConfig,
)

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models.weights_digest import local_folder, local_revision
from lorapar_cli.names import EMBEDDED

_DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class BaseModel:
    """A base model as the run directory remembers it.

    Attributes:
        id: What the user said: `embedded`, a folder (made absolute) or a hub id.
        path: What transformers loads.
        revision: Hub commit, or `local:` and a digest of config and weights.
        max_length: Tokens that the model's positions reach, where its config says so.
        encoder_decoder: Whether prompts are encoded apart from what is generated.
    """

    id: str
    path: str
    revision: str | None
    max_length: int | None = None
    encoder_decoder: bool = False

    def to_manifest(self) -> dict[str, str | None]:
        """Returns the manifest's `base_model` value."""
        return {"id": self.id, "revision": self.revision}


def find_base_model(name: str, trust_remote_code: bool = False) -> BaseModel:
    """Returns the base model of that name without loading its weights.

    Raises:
        LoraparError: There is no such folder or hub model, or it is no model.
    """
    folder = local_folder(name)
    path = folder or name
    if name.startswith((".", "/", "~")) and folder is None:
        raise LoraparError(
            f"no such folder: `{name}`", hint="a base model is a folder, a hub id, or `embedded`"
        )
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as cause:
        raise LoraparError(
            f"cannot load base model `{name}`",
            str(cause).strip().splitlines()[0],
            "give `--model` a folder with config.json and weights, a hub id, or `embedded`",
        ) from cause
    identity, revision = name, getattr(config, "_commit_hash", None)
    if folder is not None:
        identity = name if name == EMBEDDED else str(folder.resolve())
        revision = local_revision(name)
    longest = getattr(config.get_text_config(), "max_position_embeddings", None)
    return BaseModel(identity, str(path), revision, longest, config.is_encoder_decoder)


def pick_device() -> torch.device:
    """Returns this process's GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Returns the base model's dtype for `auto`, `float32`, `bfloat16` or `float16`.

    `auto` is bfloat16 on a GPU that computes it and float32 elsewhere.

    Raises:
        UsageError: Another name.
    """
    if name not in _DTYPES:
        raise UsageError(f"unknown dtype `{name}`", hint=f"dtypes: {', '.join(_DTYPES)}")
    if name == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    return getattr(torch, name)


def load_base(
    base: BaseModel,
    dtype: str = "auto",
    trust_remote_code: bool = False,
    quantize: str | None = None,
    keep_on_cpu: bool = False,
) -> torch.nn.Module:
    """Returns the base model in evaluation mode on this process's device.

    Args:
        quantize: `4bit` (NF4) or `8bit` through bitsandbytes; None for the weights as they are.
        keep_on_cpu: Leave it in memory, for an engine that divides it between devices.
    """
    device = pick_device()
    loader = AutoModelForSeq2SeqLM if base.encoder_decoder else AutoModelForCausalLM
    options = {"dtype": pick_dtype(dtype, device), "trust_remote_code": trust_remote_code}
    if quantize is not None:
        options |= _quantization(quantize, options["dtype"], device)
    model = loader.from_pretrained(base.path, **options)
    if quantize is None:
        return (model if keep_on_cpu else model.to(device)).eval()
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # bitsandbytes repacks 4-bit weights in evaluation mode for a CPU kernel that has no
            # backward pass: gradients would stop at each of these modules, without a word.
            module.support_avx512bf16_for_cpu = False
    return model.eval()


def _quantization(quantize: str, dtype: torch.dtype, device: torch.device) -> dict:
    """Returns the loader's arguments for a quantised base.

    Raises:
        LoraparError: bitsandbytes is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise LoraparError(
            f"`--quantize {quantize}` needs bitsandbytes",
            hint="pip install 'lorapar[quantize]'",
        )
    config = (
        BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
        if quantize == "4bit"
        else BitsAndBytesConfig(load_in_8bit=True)
    )
    return {"quantization_config": config, "device_map": {"": device}}


def load_tokenizer(base: BaseModel, trust_remote_code: bool = False, template: str | None = None):
    """Returns the tokenizer, with a pad token that is not treated as text.

    Args:
        template: Jinja text of a chat template in place of the model's own; None keeps that.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(base.path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as cause:
        raise LoraparError(
            f"cannot load the tokenizer of `{base.id}`", str(cause).strip().splitlines()[0]
        ) from cause
    if tokenizer.eos_token_id is None:
        raise LoraparError(
            f"the tokenizer of `{base.id}` has no end-of-sequence token",
            "completions are trained to end with it",
            "name one as `eos_token` in its tokenizer_config.json",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer

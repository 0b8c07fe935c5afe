"""Base models and their tokenizers: found and loaded."""

import gc
import importlib.util
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.libraries import require_libraries
from lorapar_cli.models.rendering.chat_template import ChatTemplate, require_size
from lorapar_cli.models.rendering.clock import CLOCK, reads_clock
from lorapar_cli.models.rendering.prompt_end import leave_prompts_open
from lorapar_cli.models.safe_loading import (
    check_folder_files,
    check_layers,
    check_template,
    library_errors,
    load_weights,
)
from lorapar_cli.models.weights_digest import local_folder, local_revision
from lorapar_cli.names import EMBEDDED, Attention
from lorapar_cli.store.manifest import KnownModel

# Progress bars and notices of the library would be drawn over our own display.
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

_DTYPES = {
    "auto": None,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

_OWN_TEMPLATE = ChatTemplate()


@dataclass(frozen=True)
class BaseModel:
    """A base model as manifests record it.

    Attributes:
        id: What the user named: `embedded`, a folder (made absolute) or a hub id.
        path: What transformers loads.
        revision: Hub commit, or for a folder its digest (`models.weights_digest`).
        max_length: Number of the model's positions in tokens, None where its config names none.
        encoder_decoder: Whether the model encodes prompts apart from what it generates.
    """

    id: str
    path: str
    revision: str | None
    max_length: int | None = None
    encoder_decoder: bool = False

    def to_manifest(self) -> KnownModel:
        """Returns the manifest's `base_model` value."""
        return {"id": self.id, "revision": self.revision}


def find_base_model(name: str, trust_remote_code: bool = False) -> BaseModel:
    """Returns the base model of that name without loading its weights.

    Raises:
        LoraparError: There is no such folder or hub model, or it is not a model.
    """
    folder = local_folder(name)
    path = folder or name
    if name.startswith((".", "/", "~")) and folder is None:
        raise LoraparError(
            f"no such folder: `{name}`", hint="a base model is a folder, a hub id, or `embedded`"
        )
    if folder is not None:
        check_folder_files(folder)
    with library_errors(
        f"cannot load base model `{name}`",
        "give `--model` a folder with config.json and weights, a hub id, or `embedded`",
    ):
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    identity, revision = name, getattr(config, "_commit_hash", None)
    if folder is not None:
        identity = name if name == EMBEDDED else str(folder.resolve())
        revision = local_revision(name)
    text_config = config.get_text_config()
    max_length = getattr(text_config, "max_position_embeddings", None)
    if max_length is not None and max_length < 1:
        raise LoraparError(
            f"base model `{name}` has no positions",
            f"`max_position_embeddings` in its `config.json` is {max_length}",
            "use the configuration that belongs to these weights",
        )
    if folder is not None:
        check_layers(folder, getattr(text_config, "num_hidden_layers", None))
    return BaseModel(identity, str(path), revision, max_length, config.is_encoder_decoder)


def pick_device() -> torch.device:
    """Returns this process's GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def free_memory() -> None:
    """Gives back what a training or a measurement has left: trainers refer to themselves."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Returns the base model's dtype for `auto`, `float32`, `bfloat16` or `float16`.

    `auto` is bfloat16 on a GPU that computes in it and float32 elsewhere.

    Raises:
        UsageError: The name is unknown.
    """
    if name not in _DTYPES:
        raise UsageError(f"unknown dtype `{name}`", hint=f"dtypes: {', '.join(_DTYPES)}")
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return _DTYPES[name] or (torch.bfloat16 if fast else torch.float32)


def load_base(
    base: BaseModel,
    dtype: str = "auto",
    trust_remote_code: bool = False,
    quantize: str | None = None,
    keep_on_cpu: bool = False,
    device_map: bool = False,
    attention: Attention | None = None,
) -> torch.nn.Module:
    """Returns the base model in evaluation mode on this process's device.

    Args:
        quantize: `4bit` (NF4) or `8bit` through bitsandbytes; None for the weights as they are.
        keep_on_cpu: Leave it in main memory, for an engine that shards it across devices.
        attention: Implementation of attention; None for the model's own.
        device_map: Distribute its layers over all GPUs (`models.placement.loading`).
    """
    device = pick_device()
    avoid_cudnn_attention(device)
    computed = pick_dtype(dtype, device)
    loader = AutoModelForSeq2SeqLM if base.encoder_decoder else AutoModelForCausalLM
    options: dict[str, Any] = {"dtype": computed, "trust_remote_code": trust_remote_code}
    if quantize is not None:
        options |= _quantization(quantize, computed, device)
    if attention is not None:
        require_attention(attention, computed, device)
        options["attn_implementation"] = attention
    if device_map:
        options["device_map"] = "auto"
    model = load_weights(loader.from_pretrained, base.id, base.path, options)
    if quantize is None:
        return (model if keep_on_cpu or device_map else model.to(device)).eval()
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # bitsandbytes repacks 4-bit weights in evaluation mode for a CPU kernel that has no
            # backward pass: gradients would silently stop at each of these modules.
            cast(Any, module).support_avx512bf16_for_cpu = False
    return model.eval()


def avoid_cudnn_attention(device: torch.device) -> None:
    """Keeps `sdpa` from choosing cuDNN's kernel on a GPU, in this process from now on.

    PyTorch prefers it on an H100 or H200. Its backward pass gives NaN where a padded batch is 64,
    192, 320 ... tokens long and a row attends to nothing, as rows of left padding do, or to scores
    far below zero (https://github.com/pytorch/pytorch/issues/196678, torch 2.11 to 2.13). The other
    kernels are right.
    """
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)


def require_attention(name: Attention, dtype: torch.dtype, device: torch.device) -> None:
    """Checks that an implementation of attention can run here, before weights are loaded.

    Raises:
        LoraparError: A GPU or a package is missing, or the dtype is too wide for it.
    """
    if name != "flash_attention_2":
        return
    missing = None
    if device.type != "cuda":
        missing, hint = "there is no GPU here", "use `--attention sdpa`"
    elif importlib.util.find_spec("flash_attn") is None:
        missing, hint = "flash-attn is not installed", "pip install flash-attn"
    elif dtype is torch.float32:
        missing = "it computes in half precision only"
        hint = "add `--dtype bfloat16`, or use `--attention sdpa`"
    if missing is not None:
        raise LoraparError(f"`--attention {name}` cannot be used", missing, hint)


def transformers_model(model: torch.nn.Module) -> PreTrainedModel:
    """Returns the transformers model that an adapter wraps, or the model itself without one."""
    return cast(PreTrainedModel, model.get_base_model() if isinstance(model, PeftModel) else model)


def _quantization(quantize: str, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """Returns the loader's arguments for a quantised base.

    Raises:
        LoraparError: bitsandbytes is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise LoraparError(
            f"`--quantize {quantize}` needs bitsandbytes",
            hint="pip install 'lorapar[quantize]'",
        )
    require_libraries(["bitsandbytes"], f"`--quantize {quantize}`")
    config = (
        BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
        if quantize == "4bit"
        else BitsAndBytesConfig(load_in_8bit=True)
    )
    return {"quantization_config": config, "device_map": {"": device}}


def load_tokenizer(
    base: BaseModel,
    trust_remote_code: bool = False,
    template: ChatTemplate = _OWN_TEMPLATE,
    notes: list[str] | None = None,
) -> PreTrainedTokenizerBase:
    """Returns the tokenizer, with a pad token that is not treated as text.

    Args:
        template: How conversations are rendered.
        notes: Where a sentence is added if the tokenizer's own habits had to be changed.

    Raises:
        LoraparError: It cannot be loaded, or has no end-of-sequence token.
        UsageError: The template does not take the arguments given.
    """
    with library_errors(f"cannot load the tokenizer of `{base.id}`"):
        tokenizer = AutoTokenizer.from_pretrained(base.path, trust_remote_code=trust_remote_code)
    if tokenizer.eos_token_id is None:
        raise LoraparError(
            f"the tokenizer of `{base.id}` has no end-of-sequence token",
            "completions are trained to end with it",
            "name one as `eos_token` in its tokenizer_config.json",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    own = tokenizer.chat_template
    if isinstance(own, dict):
        tokenizer.chat_template = {name: template.complete(text) for name, text in own.items()}
        if template.text is not None:
            tokenizer.chat_template = template.complete(None)
    else:
        tokenizer.chat_template = template.complete(own)
    if isinstance(tokenizer.chat_template, str):
        if reads_clock(tokenizer.chat_template) and notes is not None:
            notes.append(
                "the chat template reads the clock, which would give stages of one run different "
                f"tokens: it always gets {template.day} "
                f"(`--template-arg {CLOCK}=YYYY-MM-DD` for another day)"
            )
        require_size(tokenizer.chat_template, f"the chat template of `{base.id}`")
        check_template(tokenizer.chat_template)
    # An encoder's input does end with its end-of-sequence token.
    if not base.encoder_decoder and leave_prompts_open(tokenizer) and notes is not None:
        notes.append(
            "the tokenizer ends every text with a token of its own, such as its end of sequence, "
            "which would stand between prompt and completion: it is left out"
        )
    return tokenizer

"""A base model without weights: its parts' sizes, and passes whose memory is counted."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from peft import PeftModel, get_peft_model
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PretrainedConfig,
    PreTrainedModel,
)

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter_targets import adapter_config, stacked_experts
from lorapar_cli.models.base_model import BaseModel, transformers_model
from lorapar_cli.models.memory.peak import PeakBytes
from lorapar_cli.models.safe_loading import library_errors

# Models of more layers are run at two depths: layers are alike, or repeat within so many.
_SHORT = 4


@dataclass(frozen=True)
class Outline:
    """What a base model with an adapter consists of, from its configuration alone.

    Attributes:
        weights: Parameters of the base model.
        quantizable: Those of its linear maps but the output head, which `--quantize` rounds.
        largest: Those of the largest linear map.
        layer: Those of the largest layer, which FSDP2 gathers at once.
        outside: Those outside of layers: embeddings, output head, last norm.
        elements: Of the adapter.
        vocabulary: Number of logits per token.
        cache: Numbers that the KV cache holds per token.
    """

    weights: int
    quantizable: int
    largest: int
    layer: int
    outside: int
    elements: int
    vocabulary: int
    cache: int


@dataclass(frozen=True)
class Drawn:
    """How a model is drawn.

    Attributes:
        dtype: Of the base weights.
        r, targets, init, dropout: Of the adapter.
        attention: Attention implementation; None for the model's own choice.
    """

    base: BaseModel
    dtype: torch.dtype
    r: int
    targets: tuple[str, ...]
    init: str = "orthogonal"
    dropout: float = 0.0
    attention: str | None = None
    trust_remote_code: bool = False


def outline(drawn: Drawn) -> Outline:
    """Returns the sizes of a model's parts.

    Raises:
        LoraparError: The configuration cannot be read, or no module has one of the target names.
    """
    config = _read_config(drawn)
    with torch.device("meta"):
        model = _build(drawn, config)
        adapted = _adapt(model, drawn)
    head = model.get_output_embeddings()
    adapter = [p for name, p in adapted.named_parameters() if ".lora_" in name]
    linear = [
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and ".lora_" not in name and module is not head
    ]
    names = set(model._no_split_modules or ())
    layers = [module for module in model.modules() if type(module).__name__ in names]
    sizes = [_base_parameters(module) for module in layers]
    weights = _base_parameters(model)
    text = config.get_text_config()
    heads = text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    return Outline(
        weights,
        sum(linear),
        max(linear, default=0),
        max(sizes, default=weights),
        weights - sum(sizes) if sizes else 0,
        sum(p.numel() for p in adapter),
        text.vocab_size,
        2 * text.num_hidden_layers * (getattr(text, "num_key_value_heads", None) or heads) * width,
    )


def _base_parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for name, p in module.named_parameters() if ".lora_" not in name)


def training_pass(
    drawn: Drawn, rows: int, tokens: int, *, head: bool, checkpointing: bool, autocast: bool
) -> int:
    """Returns the most bytes that a forward and backward pass holds besides weights.

    Args:
        rows, tokens: Of the batch.
        head: Whether all logits are computed; TRL's trainers compute them in tiles.
        checkpointing: Recompute layers in the backward pass.
        autocast: Compute float32 matrices in the weights' dtype, as trainers do on GPUs.
    """

    def run(model: PeftModel, inputs: dict[str, Any]) -> None:
        model.train()
        inner = transformers_model(model)
        if checkpointing:
            inner.gradient_checkpointing_enable()
            inner.enable_input_require_grads()
        half: AbstractContextManager[Any] = nullcontext()
        if autocast and drawn.dtype is not torch.float32:
            half = torch.autocast("cpu", drawn.dtype)
        with half:
            if head:
                logits = inner(**inputs, use_cache=False).logits
                targets = inputs.get("decoder_input_ids", inputs["input_ids"])
                loss = torch.nn.functional.cross_entropy(
                    logits.flatten(0, 1).float(), targets.flatten()
                )
            else:
                loss = inner.base_model(**inputs, use_cache=False)[0].float().sum()
        loss.backward()

    return _measure(drawn, rows, tokens, run)


def prompt_pass(drawn: Drawn, rows: int, tokens: int) -> int:
    """Returns the most bytes that the first pass of generation holds, its KV cache included."""

    def run(model: PeftModel, inputs: dict[str, Any]) -> None:
        model.eval()
        with torch.no_grad():
            transformers_model(model)(**inputs, use_cache=True, logits_to_keep=1)

    return _measure(drawn, rows, tokens, run)


def _measure(
    drawn: Drawn, rows: int, tokens: int, run: Callable[[PeftModel, dict[str, Any]], None]
) -> int:
    """Returns the peak of a pass, extrapolated from two depths where the model is deep.

    Routed experts run in bfloat16 only where tensors have no data; other dtypes are at most as much
    wider as their weights.
    """
    config = _read_config(drawn)
    if drawn.dtype is not torch.bfloat16 and _routes_tokens(drawn, config):
        half = _measure(replace(drawn, dtype=torch.bfloat16), rows, tokens, run)
        return half * (2 if drawn.dtype is torch.float32 else 1)
    text = config.get_text_config()
    layers = text.num_hidden_layers
    if layers <= 2 * _SHORT or config.is_encoder_decoder:
        return _peak(drawn, config, rows, tokens, run)
    first, second = (
        _peak(drawn, _shortened(config, depth), rows, tokens, run) for depth in (_SHORT, 2 * _SHORT)
    )
    return first + (second - first) * (layers - _SHORT) // _SHORT


def _routes_tokens(drawn: Drawn, config: PretrainedConfig) -> bool:
    with torch.device("meta"):
        return stacked_experts(_build(drawn, _shortened(config, 1))) is not None


def _shortened(config: PretrainedConfig, layers: int) -> PretrainedConfig:
    short = copy.deepcopy(config)
    text = short.get_text_config()
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    text.num_hidden_layers = layers
    return short


def _peak(
    drawn: Drawn,
    config: PretrainedConfig,
    rows: int,
    tokens: int,
    run: Callable[[PeftModel, dict[str, Any]], None],
) -> int:
    with torch.device("meta"):
        model = _adapt(_build(drawn, config), drawn)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.random.fork_rng(devices=[]):
        known = _without_data(model)
        ids = torch.zeros(rows, tokens, dtype=torch.long)
        inputs = {"input_ids": ids}
        if config.is_encoder_decoder:
            inputs["decoder_input_ids"] = ids
        with PeakBytes([*known, ids]) as counted:
            run(model, inputs)
    return counted.peak


def _without_data(model: torch.nn.Module) -> list[torch.Tensor]:
    """Replaces parameters and buffers by tensors that have a device but no data; returns them."""
    made: dict[int, torch.Tensor] = {}
    kept = []
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                kept.append(tensor)
                if id(tensor) not in made:
                    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                    if isinstance(tensor, torch.nn.Parameter):
                        empty = torch.nn.Parameter(empty, tensor.requires_grad)
                    made[id(tensor)] = empty
                cast(dict[str, Any], tensors)[name] = made[id(tensor)]
    return list(made.values())


def _read_config(drawn: Drawn) -> PretrainedConfig:
    with library_errors(f"cannot read the configuration of `{drawn.base.id}`"):
        return AutoConfig.from_pretrained(
            drawn.base.path, trust_remote_code=drawn.trust_remote_code
        )


def _build(drawn: Drawn, config: PretrainedConfig) -> PreTrainedModel:
    loader = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    options: dict[str, Any] = {"trust_remote_code": drawn.trust_remote_code}
    if drawn.attention is not None:
        options["attn_implementation"] = drawn.attention
    with library_errors(f"cannot build `{drawn.base.id}` from its configuration"):
        return loader.from_config(config, dtype=drawn.dtype, **options)


def _adapt(model: PreTrainedModel, drawn: Drawn) -> PeftModel:
    targets = sorted(drawn.targets)
    config = adapter_config(model, drawn.r, 1, targets, drawn.init, stacked_experts(model))
    # What an init computes from weights or data has no bearing on sizes.
    config.init_lora_weights, config.lora_dropout = True, drawn.dropout
    try:
        adapted = get_peft_model(model, config, autocast_adapter_dtype=True)
    except (ValueError, TypeError) as cause:
        raise LoraparError("cannot create the adapter", str(cause)) from cause
    return cast(PeftModel, adapted)

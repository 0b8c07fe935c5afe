"""Compares the logits of what was exported with those of what was trained."""

import gc
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import safe_open
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import load_adapter
from lorapar_cli.models.base_model import (
    BaseModel,
    load_base,
    load_tokenizer,
    pick_device,
    transformers_model,
)
from lorapar_cli.models.rendering.tokenization import encode_prompt

# Largest difference of a logit that the order of float32 operations explains.
TOLERANCE = 1e-4
# Rounding weights to 8 bits of mantissa moves logits; more than this share of their spread is an error.
HALF_TOLERANCE = 0.1

_PROMPTS = ("What is 12 + 30?", "List three animals.", "A farmer has 7 cows and buys 5 more.")


def compare_logits(base: BaseModel, adapter: Path, built: Path, merged: bool, trust: bool) -> float:
    """Returns the largest absolute difference of a logit between what was written and trained.

    Both are computed in float32, from the whole base model; what was written is loaded by
    transformers and PEFT alone.

    Raises:
        LoraparError: It is more than rounding of the stored weights explains.
    """
    tokenizer = load_tokenizer(base, trust)
    trained = load_adapter(load_base(base, "float32", trust), adapter, trainable=False).eval()
    expected = _logits(trained, tokenizer)
    del trained
    gc.collect()
    written = _load_plainly(base, built, merged, trust)
    difference = float((_logits(written, tokenizer) - expected).abs().max())
    exact = not merged or all(dtype == "F32" for dtype in _dtypes(built))
    allowed = TOLERANCE if exact else HALF_TOLERANCE * float(expected.std())
    if not difference <= allowed:
        raise LoraparError(
            "the export does not compute what was trained",
            f"a logit differs by {difference:.2e}, the tolerance is {allowed:.2e}",
            "export the adapter instead of merged weights, or merge with `--dtype float32`",
        )
    return difference


def _dtypes(folder: Path) -> Iterator[str]:
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            yield from (file.get_slice(name).get_dtype() for name in file.keys())


def _load_plainly(base: BaseModel, built: Path, merged: bool, trust: bool) -> torch.nn.Module:
    """Returns what was written, loaded by transformers and PEFT alone, in float32."""
    path = built if merged else base.path
    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, trust_remote_code=trust
    )
    model = model.to(pick_device())
    return (model if merged else PeftModel.from_pretrained(model, str(built))).eval()


@torch.no_grad()
def _logits(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Returns the logits of a few prompts, one after another, on the CPU."""
    rows = []
    for prompt in _PROMPTS:
        ids = torch.tensor(
            [encode_prompt(tokenizer, prompt)], device=transformers_model(model).device
        )
        rows.append(model(input_ids=ids).logits[0].float().cpu())
    return torch.cat(rows)

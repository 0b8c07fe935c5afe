"""Exports adapters and merged weights, compared with the trained model before they are published."""

import gc
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import load_adapter, save_adapter
from lorapar_cli.models.base_model import (
    BaseModel,
    load_base,
    load_tokenizer,
    pick_device,
    pick_dtype,
    transformers_model,
)
from lorapar_cli.models.chat_template import ChatTemplate
from lorapar_cli.models.tokenization import encode_prompt

# Largest difference of a logit that the order of float32 operations explains.
TOLERANCE = 1e-4
# Rounding weights to 8 bits of mantissa moves logits; more than this share of their spread is an error.
HALF_TOLERANCE = 0.1

_PROMPTS = ("What is 12 + 30?", "List three animals.", "A farmer has 7 cows and buys 5 more.")


def export(
    base: BaseModel,
    adapter: Path,
    built: Path,
    merge: bool,
    dtype: str,
    trust: bool,
    template: str | None = None,
) -> float:
    """Writes an adapter or merged weights into `built`, and checks them by loading them again.

    Args:
        built: An empty folder.
        dtype: Of merged weights; `auto` is the dtype in which the base model is stored.
        template: Chat template of the merged model's tokenizer; None for the model's own.

    Returns:
        Largest absolute difference of a logit from the trained model's, computed in float32.

    Raises:
        LoraparError: What was written does not compute what was trained.
    """
    tokenizer = load_tokenizer(base, trust, ChatTemplate(template))
    trained = load_adapter(load_base(base, "float32", trust), adapter, trainable=False).eval()
    expected = _logits(trained, tokenizer)
    stored = (
        _stored_dtype(base, trust) if dtype == "auto" else pick_dtype(dtype, torch.device("cpu"))
    )
    if merge:
        merged = trained.merge_and_unload().to(stored)
        merged.save_pretrained(built)
        tokenizer.save_pretrained(built)
        del merged
    else:
        save_adapter(trained, built)
    del trained
    gc.collect()
    written = _load_plainly(base, built, merge, trust)
    difference = float((_logits(written, tokenizer) - expected).abs().max())
    exact = not merge or stored is torch.float32
    allowed = TOLERANCE if exact else HALF_TOLERANCE * float(expected.std())
    if not difference <= allowed:
        raise LoraparError(
            "the export does not compute what was trained",
            f"a logit differs by {difference:.2e}, the tolerance is {allowed:.2e}",
            "export the adapter instead of merged weights, or merge with `--dtype float32`",
        )
    return difference


def _stored_dtype(base: BaseModel, trust: bool) -> torch.dtype:
    model = AutoModelForCausalLM.from_pretrained(base.path, dtype="auto", trust_remote_code=trust)
    return next(model.parameters()).dtype


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

"""Adapters of PEFT other than LoRA: Prompt Tuning, P-Tuning, Prefix Tuning, IA3.

They can be evaluated beside LoRA adapters. PEFT prepares virtual tokens inside `generate` only, so
that decoding and likelihoods of this package would pass them by; `VirtualTokens` puts them where
every forward pass sees them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from peft import (
    IA3Config,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    PromptTuningInit,
)

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import load_adapter, read_adapter_config, read_lora_config
from lorapar_cli.models.base_model import transformers_model
from lorapar_cli.models.safe_loading import library_errors
from lorapar_cli.names import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from lorapar_cli.store.disk.regular_files import require_regular

_KINDS = (IA3Config, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig)


class VirtualTokens(torch.nn.Module):
    """A causal LM with a prompt-learning adapter, which takes the place of the LM itself.

    Inputs and outputs are those of the LM: masks, positions and logits know nothing of the virtual
    tokens.
    """

    def __init__(self, adapted: PeftModel) -> None:
        super().__init__()
        self.adapted = adapted
        self.inner = transformers_model(adapted)
        self.count = int(cast(Any, adapted.active_peft_config).num_virtual_tokens)
        self._in_cache = isinstance(adapted.active_peft_config, PrefixTuningConfig)

    @property
    def device(self) -> torch.device:
        """Where the LM is."""
        return self.inner.device

    @property
    def config(self) -> Any:
        """The LM's configuration."""
        return self.inner.config

    @property
    def generation_config(self) -> Any:
        """The LM's settings of generation."""
        return self.inner.generation_config

    def unload(self) -> torch.nn.Module:
        """Returns the LM without the adapter."""
        return self.inner

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
    ) -> Any:
        """Returns the LM's output with the virtual tokens before the first token.

        Args:
            input_ids: `[rows, tokens]`.
            attention_mask: `[rows, tokens so far]`, 1 where a token is attended to.
            position_ids: `[rows, tokens]`, from 0; None counts the attended tokens.
            past_key_values: What the last call returned; None in the first one.
            logits_to_keep: Number of the last tokens whose logits are returned; 0 for all.
        """
        rows, tokens = input_ids.shape
        if position_ids is None:
            position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)[:, -tokens:]
        given: dict[str, Any] = {"input_ids": input_ids, "position_ids": position_ids + self.count}
        if past_key_values is None:
            prompt = self.adapted.get_prompt(rows)
            if self._in_cache:
                past_key_values = prompt
            else:
                embedded = self.inner.get_input_embeddings()(input_ids)
                joined = torch.cat([prompt.to(embedded.dtype), embedded], dim=1)
                first = torch.arange(self.count, device=input_ids.device).expand(rows, -1)
                positions = torch.cat([first, given["position_ids"]], dim=1)
                given = {"inputs_embeds": joined, "position_ids": positions}
        ones = attention_mask.new_ones(rows, self.count)
        return cast(Any, self.inner)(
            **given,
            attention_mask=torch.cat([ones, attention_mask], dim=1),
            past_key_values=past_key_values,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep or tokens,
        )


def check_adapter(folder: Path) -> None:
    """Checks that a folder holds an adapter that can be evaluated, before anything is loaded.

    Raises:
        LoraparError: It does not.
    """
    _read_config(folder)


def _read_config(folder: Path) -> PeftConfig:
    config = read_adapter_config(folder)
    if not isinstance(config, _KINDS):
        return read_lora_config(folder)
    if not (folder / ADAPTER_WEIGHTS).exists():
        raise LoraparError(
            f"no adapter in `{folder}`",
            f"`{ADAPTER_WEIGHTS}` is missing; pickled adapters are not read",
            "save the adapter with PEFT's `safe_serialization`",
        )
    require_regular(folder / ADAPTER_WEIGHTS)
    return config


def load_for_evaluation(base: torch.nn.Module, folder: Path) -> Any:
    """Returns the base model with an adapter in evaluation mode; `unload` takes the adapter off.

    Raises:
        LoraparError: There is no adapter that fits the base model.
    """
    config = _read_config(folder)
    if not isinstance(config, _KINDS):
        return load_adapter(base, folder, trainable=False).eval()
    if isinstance(config, PromptTuningConfig):
        # The values are loaded: an init by text would fetch a tokenizer that the file names.
        config.prompt_tuning_init = PromptTuningInit.RANDOM
    with library_errors(
        f"adapter `{folder}` does not fit the base model",
        "use the base model that the adapter was made for",
    ):
        model = PeftModel.from_pretrained(cast(Any, base), str(folder), config=config)
    return (model if isinstance(config, IA3Config) else VirtualTokens(model)).eval()


def has_adapter(model: torch.nn.Module) -> bool:
    """Returns whether an adapter is on the model."""
    return isinstance(model, PeftModel | VirtualTokens)


@contextmanager
def without_adapter(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Yields the base model of a model with or without an adapter, which stays on it."""
    if isinstance(model, VirtualTokens):
        yield model.inner
    elif isinstance(model, PeftModel):
        with model.disable_adapter():
            yield model
    else:
        yield model


def save_peft_adapter(model: PeftModel, folder: Path) -> None:
    """Writes an adapter in PEFT's format: safetensors and `adapter_config.json`."""
    folder.mkdir(parents=True)
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        require_regular(folder / name)

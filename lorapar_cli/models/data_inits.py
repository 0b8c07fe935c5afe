"""Inits that need data or unquantised weights, through PEFT's own implementations."""

import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora.config import CordaConfig, EvaConfig, LoraGAConfig
from peft.tuners.lora.corda import preprocess_corda
from peft.tuners.lora.eva import get_eva_state_dict
from peft.tuners.lora.loraga import preprocess_loraga

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.base_model import transformers_model
from lorapar_cli.models.batches import (
    Batch,
    BatchLayout,
    decoder_start_token,
    make_batch,
    prediction_logits,
    sample_losses,
)
from lorapar_cli.models.placement.sharding import is_sharded
from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.plurals import counted

NEEDS_SAMPLES = ("corda", "lora_ga", "eva")
FIELDS = {"corda": "eigens", "lora_ga": "_peft_loraga_grad"}
"""Init -> attribute that PEFT leaves on a base module, for the init of its adapter."""

SAMPLES = 256
_EVA_TOKENS = 2048
_EVA_PASSES = 20


@dataclass(frozen=True)
class InitData:
    """Input of an init that needs data.

    Attributes:
        samples: Samples of both systems (`choose_samples`).
        pad_token_id: For batches of several samples.
        whole: The base model with unquantised weights, for `loftq`.
    """

    samples: list[Encoded]
    pad_token_id: int
    whole: torch.nn.Module | None = None


def choose_samples(systems: list[list[Encoded]], seed: int) -> list[Encoded]:
    """Returns at most `SAMPLES` random samples, equally many of each system."""
    each = min(SAMPLES // len(systems), *map(len, systems))
    return [sample for samples in systems for sample in random.Random(seed).sample(samples, each)]


def look_at_data(
    base: torch.nn.Module,
    init: str,
    r: int,
    lora_alpha: int,
    targets: list[str],
    data: InitData | None,
) -> dict[str, torch.Tensor]:
    """Runs the passes over data that an init needs, one sample at a time where that matters.

    Returns:
        Module name -> A for `eva`. For `corda` and `lora_ga` PEFT leaves `FIELDS` on the base
        modules; other inits need no pass.

    Raises:
        LoraparError: There is too little data.
        TypeError: The init needs data and there is none.
    """
    if init not in NEEDS_SAMPLES:
        return {}
    if data is None:
        raise TypeError(f"init `{init}` needs samples")
    if init in FIELDS and is_sharded(base):
        raise LoraparError(
            f"init `{init}` does not work with a sharded base model",
            "PEFT computes it from whole weights and the data at once",
            "choose another `--init`, or use `--device-map auto` in one process",
        )
    config = data_config(init, r, lora_alpha, targets)
    layout = BatchLayout(decoder_start_token=decoder_start_token(base))
    device = next(base.parameters()).device

    def batches() -> Iterator[Batch]:
        for sample in data.samples:
            yield make_batch([sample], data.pad_token_id, device, layout)

    def run() -> None:
        for batch in batches():
            prediction_logits(base, batch)

    def step() -> None:
        base.eval()  # Differs: PEFT leaves dropout on.
        for batch in batches():
            sample_losses(base, batch).sum().backward()

    if init == "eva":
        return _eva(base, config, data, device)
    if init == "corda":
        preprocess_corda(base, config, run)
    else:
        with warnings.catch_warnings():
            # The first matrices' inputs need no gradient, which PEFT's hooks tolerate.
            warnings.filterwarnings("ignore", "Full backward hook is firing")
            preprocess_loraga(base, config, step)
    return {}


def data_config(init: str, r: int, lora_alpha: int, targets: list[str]) -> LoraConfig:
    """Returns PEFT's configuration of an init, with PEFT's defaults except for `eva`.

    Differs: `eva` does not give layers ranks other than r (rho is 1), since importance, masks and
    their layout assume matrices of rank r.
    """
    own: dict[str, dict[str, Any]] = {
        "corda": {"corda_config": CordaConfig()},
        "lora_ga": {"lora_ga_config": LoraGAConfig()},
        "eva": {"eva_config": EvaConfig(rho=1.0)},
    }
    settings: dict[str, Any] = {"init_lora_weights": init} | own.get(init, {})
    return LoraConfig(r=r, lora_alpha=lora_alpha, target_modules=targets, **settings)


class _Passes:
    """Batches that PEFT repeats until the components no longer rotate, a limited number of times."""

    def __init__(self, batches: list[dict[str, torch.Tensor]]) -> None:
        self._batches = batches
        self._started = 0

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        self._started += 1
        if self._started > _EVA_PASSES:
            raise LoraparError(
                "init `eva` did not converge",
                f"its components still rotate after {_EVA_PASSES} passes over "
                f"{counted(len(self._batches), 'batch', 'batches')}",
                "give more data (`--samples`) or another `--init`",
            )
        return iter(self._batches)


def _eva(
    base: torch.nn.Module, config: LoraConfig, data: InitData, device: torch.device
) -> dict[str, torch.Tensor]:
    if transformers_model(base).config.is_encoder_decoder:
        raise LoraparError(
            "init `eva` does not support encoder-decoder models",
            "PEFT's pass over data assumes that all modules see the same tokens",
            "choose another `--init`",
        )
    order = sorted(range(len(data.samples)), key=lambda i: len(data.samples[i].input_ids))
    limit = max(_EVA_TOKENS, 2 * config.r)
    divided = BatchLayout().divide(data.samples, order, limit)
    batches = [
        make_batch([data.samples[i] for i in part], data.pad_token_id, device, BatchLayout())
        for part in divided
    ]
    large = [batch.inputs for batch in batches if sum(batch.lengths) >= config.r]
    if not large:
        raise LoraparError(
            f"init `eva` needs at least r = {counted(config.r, 'token')} in a batch",
            f"{counted(sum(len(sample.input_ids) for sample in data.samples), 'token')} in all samples",
            "give more data or a smaller `--r`",
        )
    return get_eva_state_dict(
        base,
        _Passes(large),
        config,
        prepare_model_inputs_fn=lambda inputs, _config: inputs["attention_mask"].bool().flatten(),
        prepare_layer_inputs_fn=_real_tokens,
        gather_distributed_inputs=False,
        show_progress_bar=False,
    )


def _real_tokens(
    arguments: tuple[torch.Tensor, ...], attended: torch.Tensor, name: str
) -> torch.Tensor:
    """Returns a module's inputs `[tokens, features]` without padding, batched or flat."""
    inputs = arguments[0].flatten(0, -2)
    if len(inputs) != len(attended):
        raise LoraparError(
            f"init `eva` cannot distinguish padding in `{name}`",
            f"it sees {len(inputs)} of {counted(len(attended), 'token')}",
            "choose other modules with `--target-modules`",
        )
    return inputs[attended]

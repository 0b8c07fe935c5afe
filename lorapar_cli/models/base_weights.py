"""Magnitudes of the base weights that an adapter's matrices work on."""

from typing import cast

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from lorapar_cli.models.lora_inits import float_weight


@torch.no_grad()
def feature_magnitudes(model: PeftModel) -> dict[str, torch.Tensor]:
    """Returns key of a LoRA matrix -> mean magnitude of the base weights on each of its features.

    For A it is that of each input feature, `[1, in]`: the mean over all outputs of the wrapped
    weight. For B it is that of each output feature, `[out, 1]`. float32, quantised weights
    dequantised.
    """
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and "default" in module.lora_A:
            weight = float_weight(cast(torch.nn.Module, module)).abs()
            found[f"{name}.lora_A.weight"] = weight.mean(0, keepdim=True)
            found[f"{name}.lora_B.weight"] = weight.mean(1, keepdim=True)
    return found

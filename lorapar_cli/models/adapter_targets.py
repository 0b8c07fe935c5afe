"""Which modules of a base model an adapter is made for."""

import torch
from peft import LoraConfig

from lorapar_cli.errors import LoraparError
from lorapar_cli.models import lora_inits as inits
from lorapar_cli.models.base_model import transformers_model


def adapter_config(
    base: torch.nn.Module,
    r: int,
    lora_alpha: int,
    targets: list[str],
    init: str,
    experts: str | None,
) -> LoraConfig:
    """Returns PEFT's configuration of a new adapter.

    Raises:
        LoraparError: No module has one of the target names, or it is the output head.
    """
    head = transformers_model(base).get_output_embeddings()
    linear = {
        name.rsplit(".", 1)[-1]: m
        for name, m in base.named_modules()
        if _is_linear(m) and m is not head
    }
    heads = {name.rsplit(".", 1)[-1] for name, m in base.named_modules() if m is head}
    if head is not None and (named := heads.intersection(targets) - set(linear)):
        raise LoraparError(
            f"target modules include the output head: `{', '.join(sorted(named))}`",
            "TRL's trainers compute the loss without it, so that it cannot be trained",
            f"choose from {', '.join(sorted(linear))} with `--target-modules`",
        )
    if missing := [target for target in targets if target not in linear]:
        raise LoraparError(
            f"target modules match nothing: `{', '.join(missing)}`",
            f"linear modules of this model: {', '.join(sorted(linear))}"
            + (f"\n{experts}" if experts else ""),
            "choose from these with `--target-modules`",
        )
    encoder_decoder = transformers_model(base).config.is_encoder_decoder
    width = 2 if inits.changes_base(init) else 1
    return LoraConfig(
        r=width * r,
        lora_alpha=width * lora_alpha,
        target_modules=targets,
        lora_dropout=0.0,
        init_lora_weights=inits.peft_init(init),
        fan_in_fan_out=all(_is_transposed(linear[target]) for target in targets),
        task_type="SEQ_2_SEQ_LM" if encoder_decoder else "CAUSAL_LM",
    )


def stacked_experts(model: torch.nn.Module) -> str | None:
    """Returns a sentence on routed experts that no target can reach, None where there are none.

    transformers keeps the weights of all experts of a layer as one parameter `[experts, out, in]`.
    """
    for name, parameter in model.named_parameters():
        if ".experts." in name and parameter.dim() == 3:
            return (
                f"the routed experts are 3-D tensors (`{name}`, {list(parameter.shape)}), not "
                "linear modules: they cannot be targets"
            )
    return None


def _is_transposed(module: torch.nn.Module) -> bool:
    """Returns whether the module is GPT-2's Conv1D, a linear map with weight `[in, out]`."""
    return type(module).__name__ == "Conv1D"


def _is_linear(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear) or _is_transposed(module)

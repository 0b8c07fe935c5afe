"""How A and B start: PEFT's inits, those that would change the base weights, and the authors'."""

import torch
from peft import LoraConfig, get_peft_model
from peft.utils.integrations import dequantize_module_weight

from lorapar_cli.errors import LoraparError, UsageError

INITS = ("orthogonal", "pissa", "pissa_niter_N", "olora", "gaussian", "default", "false")

_PEFT_VALUE = {"default": True, "false": False}
_NEEDS_MORE = {
    "eva": "a pass over data for its activations",
    "corda": "a pass over data for its covariances",
    "lora_ga": "gradients of the full weights",
    "loftq": "its own quantisation of the base weights",
    "mica": "B to stay frozen, and starts from A = 0, where no element has an importance",
}
_ZERO = {"default": "B = 0", "gaussian": "B = 0"}


def changes_base(init: str) -> bool:
    """Returns whether PEFT would subtract the initial values from the base weights."""
    return init == "olora" or init.startswith("pissa")


def check_init(init: str, init_scale: float | None, needs_product: bool) -> None:
    """Refuses an init that cannot be scored, before anything is loaded.

    Args:
        init_scale: Standard deviation of `gaussian` for both matrices; None for PEFT's, B = 0.
        needs_product: Whether the importance formula multiplies gradients by values, which is
            zero throughout where one of the two matrices is.

    Raises:
        UsageError: Unknown, not computable here, or all importance would be zero.
    """
    if init in _NEEDS_MORE:
        raise UsageError(f"init `{init}` needs {_NEEDS_MORE[init]}", hint=_choices())
    known = init in INITS or (init.startswith("pissa_niter_") and init[12:].isdigit())
    if not known or init == "pissa_niter_N":
        raise UsageError(f"unknown init `{init}`", hint=_choices())
    if init_scale is not None and init != "gaussian":
        raise UsageError(f"`--init-scale` belongs to init `gaussian`, not to `{init}`")
    if needs_product and init in _ZERO and init_scale is None:
        raise zero_importance(init)


def zero_importance(init: str, system: str | None = None) -> UsageError:
    """Returns the error for importance that is zero throughout, with cause and remedy."""
    return UsageError(
        "the importance of every element is zero" + (f" for {system}" if system else ""),
        f"init `{init}` starts from {_ZERO.get(init, 'values')} where gradient times value "
        "vanishes in both matrices",
        "use `--init orthogonal`, which starts from the base model's function with A and B "
        "non-zero, or `--init gaussian --init-scale 0.01`, which changes the function slightly",
    )


def _choices() -> str:
    return f"inits: {', '.join(INITS)}"


def peft_init(init: str) -> str | bool:
    """Returns PEFT's `init_lora_weights` for a name; `set_initial` draws some of them apart."""
    return True if changes_base(init) or init == "orthogonal" else _PEFT_VALUE.get(init, init)


@torch.no_grad()
def set_gaussian(parameters: dict[str, torch.nn.Parameter], scale: float) -> None:
    """Draws A and B from N(0, scale²), as the authors' script does with 0.01.

    Differs from PEFT's `gaussian`, which leaves B at zero. The function at step 0 changes.
    """
    for parameter in parameters.values():
        torch.nn.init.normal_(parameter, std=scale)


@torch.no_grad()
def set_orthogonal(parameters: dict[str, torch.nn.Parameter], r: int) -> None:
    """Draws A and B with B A = 0 and no zeros, so that the function stays the base model's.

    Differs: PEFT's `orthogonal` rounds both to the base weights' dtype, so that B A = 0 only in
    float32 and quantised bases fail; here they are float32 whatever the base.

    Raises:
        LoraparError: r is odd.

    Source: PEFT's `orthogonal_init`, datta0.github.io/posts/rethink-lora-init.
    """
    if r % 2:
        raise LoraparError(
            "init `orthogonal` needs an even rank", f"r is {r}", f"use `--r {r + 1}`"
        )
    for name, a in parameters.items():
        if ".lora_A" not in name:
            continue
        b = parameters[name.replace(".lora_A", ".lora_B")]
        rows, _ = torch.linalg.qr(torch.randn(r, r))
        a.copy_((torch.randn(a.shape[1], r // 2) @ rows[0::2]).T / 10)
        b.copy_(torch.randn(b.shape[0], r // 2) @ rows[1::2] / 10)


@torch.no_grad()
def set_doubled(model: torch.nn.Module, init: str, r: int, lora_alpha: int) -> None:
    """Fills a rank-2r adapter with `[B0, -B0] [A0; A0]`, where the init gives A0 and B0."""
    for module in model.modules():
        if "default" not in getattr(module, "lora_A", {}):
            continue
        a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
        first_a, first_b = _draw(_float_weight(module), init, r, lora_alpha)
        a.copy_(torch.cat([first_a, first_a]))
        b.copy_(torch.cat([first_b, -first_b], dim=1))


def _float_weight(module) -> torch.Tensor:
    """Returns a wrapped module's base weight as float32 `[out, in]`, quantised or not."""
    weight = dequantize_module_weight(module.get_base_layer()).float()
    return weight.T if getattr(module, "fan_in_fan_out", False) else weight


def _draw(weight: torch.Tensor, init: str, r: int, lora_alpha: int):
    """Returns A0 `[r, in]` and B0 `[out, r]` that PEFT's init makes of a base weight."""
    alone = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, device=weight.device)
    alone.weight.copy_(weight)
    config = LoraConfig(
        r=r, lora_alpha=lora_alpha, target_modules=["target"], init_lora_weights=init
    )
    wrapped = get_peft_model(torch.nn.ModuleDict({"target": alone}), config)
    drawn = wrapped.base_model.model["target"]
    return drawn.lora_A["default"].weight, drawn.lora_B["default"].weight


def require_finite(parameters: dict[str, torch.Tensor], init: str) -> None:
    """Refuses an adapter that an init left with NaN or infinity."""
    for name, parameter in parameters.items():
        if not torch.isfinite(parameter).all():
            raise LoraparError(f"init `{init}` gave values that are not finite", f"in `{name}`")

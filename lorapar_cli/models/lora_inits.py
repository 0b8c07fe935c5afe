"""How A and B start: PEFT's inits, those that would change the base weights, and the authors'."""

import math

import torch
from peft import PeftModel, get_peft_model
from peft.utils.integrations import dequantize_module_weight
from peft.utils.loftq_utils import _low_rank_decomposition

from lorapar_cli.elements.importance import FORMULAS
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models.data_inits import FIELDS, InitData, data_config

INITS = (
    *("orthogonal", "pissa", "pissa_niter_N", "olora", "corda", "lora_ga", "loftq"),
    *("gaussian", "default", "false", "eva", "mica"),
)

_PEFT_VALUE = {"default": True, "gaussian": "gaussian", "false": False}
_ZERO = {"default": "B = 0", "gaussian": "B = 0", "eva": "B = 0", "mica": "A = 0"}


def changes_base(init: str) -> bool:
    """Returns whether PEFT would subtract the initial values from the base weights."""
    return init in ("olora", *FIELDS) or init.startswith("pissa")


def check_init(init: str, init_scale: float | None, formula: str, quantize: str | None) -> None:
    """Refuses an init that cannot be scored, before anything is loaded.

    Args:
        init_scale: Standard deviation of `gaussian` for both matrices; None for PEFT's, B = 0.
        formula: A key of `elements.importance.FORMULAS`. Importance that multiplies gradients by values
            is zero throughout where one of the two matrices is.
        quantize: `4bit`, `8bit` or None.

    Raises:
        UsageError: Unknown, not computable here, or all importance would be zero.
    """
    known = init in INITS or (init.startswith("pissa_niter_") and init[12:].isdigit())
    if not known or init == "pissa_niter_N":
        raise UsageError(f"unknown init `{init}`", hint=f"inits: {', '.join(INITS)}")
    if init_scale is not None and init != "gaussian":
        raise UsageError(f"`--init-scale` belongs to init `gaussian`, not to `{init}`")
    if init_scale is not None and not 0 < init_scale < math.inf:
        raise UsageError(
            "the scale of an init must be a number above 0",
            f"{init_scale}",
            "the authors' is `--init-scale 0.01`",
        )
    if FORMULAS[formula].needs_product and init in _ZERO and init_scale is None:
        raise zero_importance(init)
    if init == "mica" and formula != "fisher":
        raise UsageError(
            f"formula `{formula}` would choose elements of B, and init `mica` is to leave B frozen",
            hint="use `--formula fisher`, which is exactly zero in B where A = 0",
        )
    if init in FIELDS and quantize is not None:
        raise UsageError(
            f"init `{init}` needs unquantised weights",
            f"PEFT refuses it on weights of `--quantize {quantize}`",
            "leave `--quantize` out (the adapter loads on quantised weights later), or use "
            "`--init orthogonal` or `pissa`",
        )
    if init == "loftq" and quantize != "4bit":
        raise UsageError(
            "init `loftq` corrects what 4-bit weights have lost",
            f"the base weights would be in {quantize}" if quantize else "they are not quantised",
            "give `--quantize 4bit`, or use another `--init`",
        )


def zero_importance(init: str, system: str | None = None) -> UsageError:
    """Returns the error for importance that is zero throughout, with cause and remedy."""
    return UsageError(
        "the importance of every element is zero" + (f" for {system}" if system else ""),
        f"init `{init}` starts from {_ZERO[init]}, where gradient times value vanishes in both "
        "matrices"
        if system is None
        else f"gradient times value is below what float32 holds throughout, after init `{init}`",
        "use `--init orthogonal`, which starts from the base model's function with A and B "
        "non-zero, or `--init gaussian --init-scale 0.01`, which changes the function slightly",
    )


def peft_init(init: str) -> str | bool:
    """Returns PEFT's `init_lora_weights` for a name; `set_initial` draws the others apart."""
    return _PEFT_VALUE.get(init, True)


def set_initial(
    model: PeftModel,
    init: str,
    r: int,
    lora_alpha: int,
    data: InitData | None,
    found: dict[str, torch.Tensor],
) -> None:
    """Sets A and B where PEFT's own creation of an adapter has not.

    Args:
        data: What the init looked at; None for those that look at nothing.
        found: What it found (`data_inits.look_at_data`).
    """
    if init in _PEFT_VALUE:
        return
    adapted = {
        name: module
        for name, module in model.get_base_model().named_modules()
        if "default" in getattr(module, "lora_A", {})
    }
    # In the order of the adapter's file, which decides what is drawn for which matrix.
    for name, module in sorted(adapted.items(), key=lambda item: f"{item[0]}.lora_A"):
        a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
        with torch.no_grad():
            if init == "orthogonal":
                _set_orthogonal(a, b, r)
            elif init == "eva":
                a.copy_(found[name])
            elif init == "loftq":
                _set_loftq(a, b, module, data.whole.get_submodule(name))
            else:
                first_a, first_b = _draw(name, module, init, r, lora_alpha)
                if changes_base(init):
                    first_a = torch.cat([first_a, first_a])
                    first_b = torch.cat([first_b, -first_b], dim=1)
                a.copy_(first_a)
                b.copy_(first_b)


@torch.no_grad()
def set_gaussian(parameters: dict[str, torch.nn.Parameter], scale: float) -> None:
    """Draws A and B from N(0, scale²), as the authors' script does with 0.01.

    Differs from PEFT's `gaussian`, which leaves B at zero. The function at step 0 changes.
    """
    for parameter in parameters.values():
        torch.nn.init.normal_(parameter, std=scale)


def _set_orthogonal(a: torch.Tensor, b: torch.Tensor, r: int) -> None:
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
    rows, _ = torch.linalg.qr(torch.randn(r, r))
    a.copy_((torch.randn(a.shape[1], r // 2) @ rows[0::2]).T / 10)
    b.copy_(torch.randn(b.shape[0], r // 2) @ rows[1::2] / 10)


def _set_loftq(a: torch.Tensor, b: torch.Tensor, module, whole: torch.nn.Module) -> None:
    """Sets B A to the best approximation of rank r of what the quantisation has lost.

    Differs: PEFT's leaves out that the model multiplies B A by lora_alpha / r, and so corrects too
    much where that is not 1; and its own function runs on GPUs only.

    Source: PEFT's `replace_lora_weights_loftq`; LoftQ, arXiv 2310.08659, one step.
    """
    lost = _out_by_in(module, whole.weight.to(a.device).float()) - _float_weight(module)
    parts = _low_rank_decomposition(lost, reduced_rank=a.shape[0])
    half = module.scaling["default"] ** 0.5
    a.copy_(parts["R"] / half)
    b.copy_(parts["L"] / half)


def _float_weight(module) -> torch.Tensor:
    """Returns a wrapped module's base weight as float32 `[out, in]`, quantised or not."""
    return _out_by_in(module, dequantize_module_weight(module.get_base_layer()).float())


def _out_by_in(module, weight: torch.Tensor) -> torch.Tensor:
    return weight.T if getattr(module, "fan_in_fan_out", False) else weight


def _draw(
    name: str, module, init: str, r: int, lora_alpha: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns A0 `[r, in]` and B0 `[out, r]` that PEFT's init makes of a module's base weight.

    Raises:
        LoraparError: The matrix is too small for them, or the passes over data did not reach it.
    """
    base, weight = module.get_base_layer(), _float_weight(module)
    needed = 2 * r if init == "lora_ga" else r
    if min(weight.shape) < needed:
        raise LoraparError(
            f"init `{init}` needs {needed} directions in `{name}`",
            f"its weight is {list(weight.shape)}, r is {r}",
            "use a smaller `--r`, or other `--target-modules`",
        )
    alone = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, device=weight.device)
    alone.weight.copy_(weight)
    if field := FIELDS.get(init):
        if not hasattr(base, field):
            raise LoraparError(
                f"init `{init}` has nothing to start from in `{name}`",
                "no sample's loss depends on it",
                "choose other modules with `--target-modules`",
            )
        known = getattr(base, field)
        setattr(alone, field, _out_by_in(module, known) if init == "lora_ga" else known)
        delattr(base, field)
    config = data_config(init, r, lora_alpha, ["target"])
    wrapped = get_peft_model(torch.nn.ModuleDict({"target": alone}), config)
    drawn = wrapped.base_model.model["target"]
    return drawn.lora_A["default"].weight, drawn.lora_B["default"].weight


def require_finite(parameters: dict[str, torch.Tensor], init: str) -> None:
    """Refuses an adapter that an init left with NaN or infinity."""
    for name, parameter in parameters.items():
        if not torch.isfinite(parameter).all():
            raise LoraparError(f"init `{init}` gave values that are not finite", f"in `{name}`")

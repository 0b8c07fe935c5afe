"""Initial values of A and B: PEFT's inits, those that would change the base, and the authors'."""

from collections.abc import Mapping
from typing import Any, cast, get_args

import torch
from peft import PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils.integrations import dequantize_module_weight
from peft.utils.loftq_utils import _low_rank_decomposition

from lorapar_cli.elements.importance import FORMULAS
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models.base_model import transformers_model
from lorapar_cli.models.data_inits import FIELDS, data_config
from lorapar_cli.models.placement.sharding import whole_tensor
from lorapar_cli.names import Formula, Init, Rule
from lorapar_cli.plurals import counted, inflected

INITS = get_args(Init)

_PEFT_VALUE: dict[str, Any] = {"default": True, "gaussian": "gaussian", "false": False}
_ZERO = {"default": "B = 0", "gaussian": "B = 0", "eva": "B = 0", "mica": "A = 0"}


def changes_base(init: str) -> bool:
    """Returns whether PEFT would subtract the initial values from the base weights."""
    return init in ("olora", *FIELDS) or init.startswith("pissa")


def check_init(
    init: str,
    init_scale: float | None,
    formula: Formula,
    quantize: str | None,
    rule: Rule = "importance",
) -> None:
    """Refuses an init that cannot be scored, before anything is loaded.

    Args:
        init_scale: Standard deviation of `gaussian` for both matrices, above 0; None for PEFT's,
            B = 0.
        formula: A key of `elements.importance.FORMULAS`. Importance that multiplies gradients by
            values is zero throughout where one of the two matrices is.
        quantize: `4bit`, `8bit` or None.
        rule: By what elements are ranked; the formula counts for `importance` only.

    Raises:
        UsageError: The init is unknown, not computable here, or makes all importance zero.
    """
    known = init in INITS or (init.startswith("pissa_niter_") and init[12:].isdigit())
    if not known or init == "pissa_niter_N":
        raise UsageError(f"unknown init `{init}`", hint=f"inits: {', '.join(INITS)}")
    if init_scale is not None and init != "gaussian":
        raise UsageError(f"`--init-scale` applies to init `gaussian`, not to `{init}`")
    by_formula = rule == "importance"
    needs_product = by_formula and FORMULAS[formula].needs_product
    if needs_product and init in _ZERO and init_scale is None:
        raise zero_importance(init)
    # Where A = 0 no loss depends on B, so that what is made of gradients alone is zero there.
    if init == "mica" and not (formula == "fisher" if by_formula else rule in ("snr", "gallop")):
        named = f"formula `{formula}`" if by_formula else f"rule `{rule}`"
        raise UsageError(
            f"{named} would choose elements of B, which init `mica` keeps frozen",
            hint="use `--formula fisher`, which is exactly zero in B where A = 0",
        )
    if init in FIELDS and quantize is not None:
        raise UsageError(
            f"init `{init}` needs unquantised weights",
            f"PEFT refuses it on `--quantize {quantize}` weights",
            "leave out `--quantize` (the adapter loads on quantised weights later), or use "
            "`--init orthogonal` or `pissa`",
        )
    if init == "loftq" and quantize != "4bit":
        raise UsageError(
            "init `loftq` corrects the quantisation error of 4-bit weights",
            f"the base weights would be in {quantize}" if quantize else "they are not quantised",
            "give `--quantize 4bit` or another `--init`",
        )


def zero_importance(init: str, system: str | None = None) -> UsageError:
    """Returns the error for importance that is zero throughout, with cause and remedy."""
    return UsageError(
        "the importance of every element is zero" + (f" for {system}" if system else ""),
        f"init `{init}` starts from {_ZERO[init]}, where gradient times value vanishes in both "
        "matrices"
        if system is None
        else f"gradient times value underflows float32 in every element, after init `{init}`",
        "use `--init orthogonal`, which starts from the base model's function with A and B "
        "non-zero, or `--init gaussian --init-scale 0.01`, which changes the function slightly",
    )


def peft_init(init: str) -> Any:
    """Returns PEFT's `init_lora_weights` for a name; `set_initial` computes those it lacks."""
    return _PEFT_VALUE.get(init, True)


def set_initial(
    model: PeftModel,
    init: str,
    r: int,
    lora_alpha: int,
    found: dict[str, torch.Tensor],
    whole: torch.nn.Module | None,
) -> None:
    """Sets A and B where creating the adapter through PEFT has not.

    Args:
        found: Module name -> A, from the init's pass over data (`data_inits.look_at_data`).
        whole: The base model with unquantised weights, for `loftq`.

    Raises:
        LoraparError: The init refuses these matrices.
        TypeError: `loftq` has no unquantised model.
    """
    if init in _PEFT_VALUE:
        return
    adapted = {
        name: module
        for name, module in transformers_model(model).named_modules()
        if "default" in getattr(module, "lora_A", {})
    }
    # In the order of the adapter's file, which decides the random numbers of each matrix.
    for name, module in sorted(adapted.items(), key=lambda item: f"{item[0]}.lora_A"):
        a = module.get_parameter("lora_A.default.weight")
        b = module.get_parameter("lora_B.default.weight")
        with torch.no_grad():
            if init == "orthogonal":
                _set_orthogonal(a, b, r)
            elif init == "eva":
                a.copy_(found[name])
            elif init == "loftq":
                if whole is None:
                    raise TypeError("init `loftq` needs the unquantised model")
                _set_loftq(a, b, module, whole.get_parameter(f"{name}.weight"))
            else:
                first_a, first_b = _peft_values(name, module, init, r, lora_alpha)
                if changes_base(init):
                    first_a = torch.cat([first_a, first_a])
                    first_b = torch.cat([first_b, -first_b], dim=1)
                a.copy_(first_a)
                b.copy_(first_b)


@torch.no_grad()
def set_gaussian(parameters: Mapping[str, torch.Tensor], scale: float) -> None:
    """Draws A and B from N(0, scale²), as the authors' script does with 0.01.

    Differs from PEFT's `gaussian`, which leaves B at zero. The function at step 0 changes.
    """
    for parameter in parameters.values():
        torch.nn.init.normal_(parameter, std=scale)


def _set_orthogonal(a: torch.Tensor, b: torch.Tensor, r: int) -> None:
    """Draws A and B with BA = 0 and no zeros, so that the function stays the base model's.

    Differs: PEFT's `orthogonal` rounds both to the base weights' dtype, so that BA = 0 only in
    float32 and quantised bases fail; here they are always float32.

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


def _set_loftq(
    a: torch.Tensor, b: torch.Tensor, module: torch.nn.Module, whole: torch.Tensor
) -> None:
    """Sets BA to the best approximation of rank r of the quantisation error.

    Args:
        module: The wrapped quantised module.
        whole: Its weight before quantisation.

    Differs: PEFT's ignores that the model multiplies BA by lora_alpha / r, and so overcorrects
    where that is above 1; and its own function runs on GPUs only.

    Source: PEFT's `replace_lora_weights_loftq`; LoftQ, arXiv 2310.08659, one step.
    """
    lost = _out_by_in(module, whole.to(a.device).float()) - float_weight(module)
    parts = _low_rank_decomposition(lost, reduced_rank=a.shape[0])
    half = cast(LoraLayer, module).scaling["default"] ** 0.5
    a.copy_(parts["R"] / half)
    b.copy_(parts["L"] / half)


def float_weight(module: torch.nn.Module) -> torch.Tensor:
    """Returns a wrapped module's base weight as float32 `[out, in]`, quantised or not.

    Where processes share the weights, every one of them must call this.
    """
    base = cast(LoraLayer, module).get_base_layer()
    return _out_by_in(module, whole_tensor(dequantize_module_weight(base)).float())


def _out_by_in(module: torch.nn.Module, weight: torch.Tensor) -> torch.Tensor:
    return weight.T if getattr(module, "fan_in_fan_out", False) else weight


def _peft_values(
    name: str, module: torch.nn.Module, init: str, r: int, lora_alpha: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns A0 `[r, in]` and B0 `[out, r]` that PEFT's init computes from a base weight.

    Raises:
        LoraparError: The matrix is too small, or the passes over data did not reach it.
    """
    base, weight = cast(LoraLayer, module).get_base_layer(), float_weight(module)
    needed = 2 * r if init == "lora_ga" else r
    if min(weight.shape) < needed:
        raise LoraparError(
            f"init `{init}` needs at least {counted(needed, 'row')} and "
            f"{inflected(needed, 'column', 'columns')} in `{name}`",
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
    target = wrapped.get_submodule("base_model.model.target")
    return (
        target.get_parameter("lora_A.default.weight"),
        target.get_parameter("lora_B.default.weight"),
    )


def require_finite(parameters: Mapping[str, torch.Tensor], init: str) -> None:
    """Refuses an adapter in which an init left NaN or infinity.

    Raises:
        LoraparError: A value is not finite.
    """
    for name, parameter in parameters.items():
        if not torch.isfinite(parameter).all():
            raise LoraparError(f"init `{init}` produced values that are not finite", f"in `{name}`")

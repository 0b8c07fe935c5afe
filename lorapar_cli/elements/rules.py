"""Rules for importance besides the paper's: each gives float32 values of at least 0 per element."""

from collections.abc import Mapping

import torch

from lorapar_cli.elements.importance import GradientSums, Values

# Sums of squares of a batch are float32: a variance below this share of the mean square is rounding.
_RESOLUTION = torch.finfo(torch.float32).eps
_TINY = 1e-8


def signal_to_noise(
    gradient: torch.Tensor, squared_gradient: torch.Tensor, samples: float
) -> torch.Tensor:
    """Returns `|g| / standard error of g`: how surely the loss falls when the element moves.

    The standard error is the samples' standard deviation over the root of their number. Where
    the gradient is exactly 0, so is the result. A deviation below the resolution of float32 counts
    as that resolution, so that the result is finite.

    Args:
        gradient: Mean over samples of the per-sample gradient, float64.
        squared_gradient: Mean over samples of its square, float64.
        samples: Their number.

    Source: gradient signal-to-noise ratio, Liu et al. 2020, arXiv 2001.07384. Differs: its square
    root, times the root of the number of samples, which ranks alike.
    """
    spread = squared_gradient - gradient * gradient
    variance = torch.maximum(spread, _RESOLUTION * squared_gradient) / max(samples - 1, 1)
    ratio = gradient.abs() / variance.sqrt()
    return torch.where(gradient == 0, 0.0, ratio)


def snr_importance(
    values: Values, sums: GradientSums, half: int | None = None
) -> dict[str, torch.Tensor]:
    """Returns name -> `signal_to_noise` in the matrices' shapes, float32, on the CPU.

    Args:
        half: Which half of the samples to use; None for all.
    """
    counted = sums.tally[0]
    samples = float(counted.sum() if half is None else counted[half])
    return {
        name: signal_to_noise(*sums.mean(name, half), samples).float().reshape(phi.shape).cpu()
        for name, phi in values.items()
    }


def gallop_importance(
    values: Values,
    sums: GradientSums,
    magnitudes: Mapping[str, torch.Tensor],
    half: int | None = None,
) -> dict[str, torch.Tensor]:
    """Returns name -> `|g| / (w + 1e-8)`, float32 in the matrices' shapes, on the CPU.

    w is the mean magnitude of the base weights on the element's feature: a large gradient on what
    is small in the base model.

    Args:
        magnitudes: Name -> w, `[1, in]` for A and `[out, 1]` for B.
        half: Which half of the samples to use; None for all.

    Source: GaLLoP, arXiv 2510.19778. Differs: GaLLoP chooses base weights, each by its own
    magnitude; an element of A or B has no base weight of its own, only a row or column of them.
    """
    return {
        name: (
            sums.mean(name, half)[0].abs().reshape(phi.shape)
            / (magnitudes[name].to(sums.flat.device, torch.float64) + _TINY)
        )
        .float()
        .cpu()
        for name, phi in values.items()
    }


def migu_importance(values: Values, shares: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns name -> the output share of each element's row, float32, on the CPU.

    Args:
        shares: Name -> mean over tokens of `|o_i| / sum_j |o_j|`, `[rows]`, where o is the output
            of the matrix A, or of the module that B adds to.

    Source: MIGU, arXiv 2406.17245 (L1-normalised output magnitudes; whole output features are
    updated or not). Differs: B by the module's output, since its own is 0 at the start of training.
    """
    return {
        name: shares[name].float().cpu()[:, None].expand(phi.shape).contiguous()
        for name, phi in values.items()
    }


def movement_importance(before: Values, after: Values) -> dict[str, torch.Tensor]:
    """Returns name -> `|after - before|`, float32, on the CPU.

    Source: a short RL run shows which weights RL will move (arXiv 2505.11711). Relatives: LoTA,
    arXiv 2406.16797, and LoRI, arXiv 2504.07448, keep the elements that a dense run moved most or
    made largest, and train again from the start.
    """
    return {
        name: (after[name].detach().double() - phi.double()).abs().float().cpu()
        for name, phi in before.items()
    }

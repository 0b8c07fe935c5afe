"""Importance of LoRA elements from streamed sums of per-sample gradients."""

from collections.abc import Callable, Mapping

import torch

Values = Mapping[str, torch.Tensor]

HALVES = 2


class GradientSums:
    """Sums of g and g² over samples, of two disjoint halves of them, in float64.

    A sample's gradient is of its own mean loss, so that the sums do not depend on batching. The
    halves cost no pass and tell how far the result is from sampling noise.

    Attributes:
        first: Name -> `[2, elements]` float64, the sum of g in each half.
        second: Name -> `[2, elements]` float64, the sum of g² in each half.
        samples: Number of samples in each half.
    """

    def __init__(self, sizes: Mapping[str, int], device: torch.device | str = "cpu") -> None:
        def zeros() -> dict[str, torch.Tensor]:
            return {
                name: torch.zeros(HALVES, size, dtype=torch.float64, device=device)
                for name, size in sizes.items()
            }

        self.first = zeros()
        self.second = zeros()
        self.samples = [0] * HALVES

    def add(self, name: str, gradients: torch.Tensor, membership: torch.Tensor) -> None:
        """Adds one matrix's gradients of a batch; overwrites `gradients`.

        Args:
            name: The matrix.
            gradients: `[batch, ...]` float32, one gradient a sample.
            membership: `[2, batch]` float32, 1 where the sample belongs to the half, else 0.
        """
        flat = gradients.flatten(1)
        self.first[name] += membership @ flat
        self.second[name] += membership @ flat.square_()

    def mean(self, name: str, half: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns mean g and mean g² `[elements]` float64 of one half, or of all samples."""
        if half is None:
            count = sum(self.samples)
            return self.first[name].sum(0) / count, self.second[name].sum(0) / count
        return self.first[name][half] / self.samples[half], (
            self.second[name][half] / self.samples[half]
        )


def taylor2(
    phi: torch.Tensor, gradient: torch.Tensor, squared_gradient: torch.Tensor
) -> torch.Tensor:
    """Returns `|g phi - 1/2 F phi²|`: the loss change that removing the element would bring.

    Args:
        phi: Element values that training starts from.
        gradient: Mean over samples of the per-sample gradient.
        squared_gradient: Mean over samples of its square, the diagonal empirical Fisher.

    Source: LoRA-PAR Sec. 3 (second-order Taylor expansion, Fisher for the Hessian's diagonal).
    """
    return (gradient * phi - 0.5 * squared_gradient * phi * phi).abs()


Formula = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

FORMULAS: dict[str, Formula] = {"taylor2": taylor2}


def compute_importance(
    values: Values, sums: GradientSums, formula: str, half: int | None = None
) -> dict[str, torch.Tensor]:
    """Returns name -> float32 importance in the element values' shapes, on the CPU.

    Args:
        values: Name -> element values, float32.
        sums: The gradients' sums over one system's samples.
        formula: A key of `FORMULAS`.
        half: Which half of the samples to use; None for all.
    """
    return {
        name: FORMULAS[formula](phi.detach().double().flatten(), *sums.mean(name, half))
        .float()
        .reshape(phi.shape)
        .cpu()
        for name, phi in values.items()
    }

"""Importance of LoRA elements from streamed sums of per-sample gradients."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from lorapar_cli.names import Formula

Values = Mapping[str, torch.Tensor]

HALVES = 2


class GradientSums:
    """Sums of g and g² over samples, kept for two disjoint halves of them, in float64.

    A sample's gradient is that of its own mean loss, so the sums do not depend on batching. The
    halves need no extra pass and show how much of the result is sampling noise.

    Args:
        sizes: Name -> number of elements.

    Attributes:
        flat: `[2, 2, elements]` float64: moment (g, g²), half, elements of all matrices in order.
        tally: `[2, 2]` float64: number of samples and sum of their losses, by half.
    """

    def __init__(self, sizes: Mapping[str, int], device: torch.device | str = "cpu") -> None:
        total = sum(sizes.values())
        self.flat = torch.zeros(2, HALVES, total, dtype=torch.float64, device=device)
        self.tally = torch.zeros(2, HALVES, dtype=torch.float64, device=device)
        self._places: dict[str, slice] = {}
        start = 0
        for name, size in sizes.items():
            self._places[name] = slice(start, start + size)
            start += size

    def add(self, name: str, gradients: torch.Tensor, membership: torch.Tensor) -> None:
        """Adds one matrix's gradients of a batch; overwrites `gradients`.

        Args:
            name: The matrix.
            gradients: `[batch, ...]` float32, one gradient per sample.
            membership: `[2, batch]` float32, 1 where the sample belongs to the half, else 0.
        """
        flat = gradients.flatten(1)
        membership = membership.to(flat.device)
        # Both are computed before either is added: running out of memory leaves the sums intact.
        first = membership @ flat
        second = membership @ flat.square_()
        place = self._places[name]
        self.flat[0, :, place] += first.to(self.flat.device)
        self.flat[1, :, place] += second.to(self.flat.device)

    def add_losses(self, losses: torch.Tensor, membership: torch.Tensor) -> None:
        """Adds a batch's losses `[batch]` and its samples, after all of its matrices."""
        self.tally[0] += membership.sum(1)
        self.tally[1] += membership.double() @ losses.detach().double()

    @property
    def samples(self) -> int:
        """Number of samples added."""
        return round(self.tally[0].sum().item())

    @property
    def mean_loss(self) -> float:
        """Mean over samples of the mean cross-entropy of their completion tokens, in nats."""
        return (self.tally[1].sum() / self.tally[0].sum()).item()

    def mean(self, name: str, half: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns mean g and mean g², float64 `[elements]`, over one half or over all samples."""
        sums = self.flat[:, :, self._places[name]]
        if half is None:
            first, second = sums.sum(1) / self.tally[0].sum()
        else:
            first, second = sums[:, half] / self.tally[0, half]
        return first, second


def taylor2(
    phi: torch.Tensor, gradient: torch.Tensor, squared_gradient: torch.Tensor
) -> torch.Tensor:
    """Returns `|g phi - 1/2 F phi²|`: the change in loss that removing the element would cause.

    Args:
        phi: Element values that training starts from.
        gradient: Mean over samples of the per-sample gradient.
        squared_gradient: Mean over samples of its square, F: the diagonal empirical Fisher.

    Source: LoRA-PAR Sec. 3 (second-order Taylor expansion, Fisher for the Hessian's diagonal).
    """
    return (gradient * phi - 0.5 * squared_gradient * phi * phi).abs()


def taylor1(
    phi: torch.Tensor, gradient: torch.Tensor, _squared_gradient: torch.Tensor
) -> torch.Tensor:
    """Returns `|g phi|`, the first-order term alone.

    Source: Molchanov et al. 2017, Pruning Convolutional Neural Networks for Resource Efficient
    Inference, arXiv 1611.06440.
    """
    return (gradient * phi).abs()


def fisher(
    _phi: torch.Tensor, _gradient: torch.Tensor, squared_gradient: torch.Tensor
) -> torch.Tensor:
    """Returns F, the diagonal empirical Fisher, which does not depend on the element's value.

    Source: Sung et al. 2021, Training Neural Networks with Fixed Sparse Masks, arXiv 2111.09839.
    """
    return squared_gradient


@dataclass(frozen=True)
class ImportanceFormula:
    """How importance is computed.

    Attributes:
        compute: From values, mean g and mean g²; None where no gradient is needed.
        needs_product: Whether it is zero wherever gradient times value is.
    """

    compute: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor] | None
    needs_product: bool


FORMULAS: dict[Formula, ImportanceFormula] = {
    "taylor2": ImportanceFormula(taylor2, True),
    "taylor1": ImportanceFormula(taylor1, True),
    "fisher": ImportanceFormula(fisher, False),
    "magnitude": ImportanceFormula(None, False),
    "random": ImportanceFormula(None, False),
}


def compute_importance(
    values: Values, sums: GradientSums, formula: Formula, half: int | None = None
) -> dict[str, torch.Tensor]:
    """Returns name -> float32 importance in the element values' shapes, on the CPU.

    Args:
        values: Name -> element values, float32.
        sums: The gradients' sums over one system's samples.
        formula: A key of `FORMULAS` that needs gradients.
        half: Which half of the samples to use; None for all.

    Raises:
        ValueError: The formula needs no gradients.
    """
    compute = FORMULAS[formula].compute
    if compute is None:
        raise ValueError(f"formula `{formula}` is not computed from gradients")
    return {
        name: compute(_on(sums, phi), *sums.mean(name, half)).float().reshape(phi.shape).cpu()
        for name, phi in values.items()
    }


def magnitude_importance(values: Values) -> dict[str, torch.Tensor]:
    """Returns name -> `|phi|`, the same for both systems.

    Source: Han et al. 2015, Learning both Weights and Connections for Efficient Neural Networks,
    arXiv 1506.02626.
    """
    return {name: phi.detach().float().abs().cpu().contiguous() for name, phi in values.items()}


def random_importance(values: Values, seed: int, system: str) -> dict[str, torch.Tensor]:
    """Returns name -> uniform draws in [0, 1), independent for each system: the control.

    Source: LoRA-PAR Tab. 3, random choice of as many elements.
    """
    drawn = {}
    for name, phi in values.items():
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {system} {name}".encode()))
        drawn[name] = torch.rand(phi.shape, generator=generator)
    return drawn


def signed_terms(values: Values, sums: GradientSums, half: int) -> dict[str, torch.Tensor]:
    """Returns name -> one half's mean gradient times value, float32 `[elements]`, on the CPU."""
    return {
        name: (sums.mean(name, half)[0] * _on(sums, phi)).float().cpu()
        for name, phi in values.items()
    }


def _on(sums: GradientSums, phi: torch.Tensor) -> torch.Tensor:
    """Returns element values float64 `[elements]` on the sums' device: layers may lie on others."""
    return phi.detach().to(sums.flat.device, torch.float64).flatten()

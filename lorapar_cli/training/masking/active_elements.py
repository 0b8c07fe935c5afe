"""Training active elements of LoRA matrices: the optimizer owns these elements and nothing else.

For each matrix the active elements are copied into one float32 vector, which is what the optimizer
is given. After a backward pass their gradients are gathered into the vectors; after an optimizer
step the vectors are scattered back. Frozen elements are never written, whatever the optimizer, its
weight decay or its precision does, and its state exists for active elements only.
"""

from collections.abc import Mapping

import torch

from lorapar_cli.training.masking.trained_elements import TrainedElements


class ActiveElements(TrainedElements):
    """The active elements of matrices that one process holds whole, as vectors.

    Args:
        parameters: Name -> LoRA matrix, float32, any shape. A matrix without an active element
            stops requiring gradients.
        active: Name -> bool tensor of the matrix's shape; True means active. Same names.
    """

    def __init__(
        self, parameters: Mapping[str, torch.nn.Parameter], active: Mapping[str, torch.Tensor]
    ) -> None:
        self._owned: list[tuple[torch.nn.Parameter, torch.Tensor, torch.nn.Parameter]] = []
        for name, parameter in parameters.items():
            index = active[name].flatten().nonzero().squeeze(1).to(parameter.device)
            parameter.requires_grad_(len(index) > 0)
            if len(index):
                values = torch.nn.Parameter(parameter.detach().flatten()[index])
                self._owned.append((parameter, index, values))

    @property
    def values(self) -> list[torch.nn.Parameter]:
        """The vectors, 1-D float32, one for each matrix that has active elements."""
        return [values for _, _, values in self._owned]

    @torch.no_grad()
    def gather(self) -> None:
        """Copies values and accumulated gradients of the active elements into the vectors.

        Values are copied too, so that the next step starts from whatever else wrote the matrices:
        a checkpoint that was loaded, a synchronisation of processes.
        """
        for parameter, index, values in self._owned:
            torch.index_select(parameter.view(-1), 0, index, out=values.data)
            # Set to None too: a step that a loss scaler skipped has not dropped its gradients.
            grad = parameter.grad
            values.grad = None if grad is None else torch.index_select(grad.view(-1), 0, index)

    @torch.no_grad()
    def scatter(self) -> None:
        """Writes the vectors back into the matrices and drops their gradients."""
        for parameter, index, values in self._owned:
            parameter.view(-1).index_copy_(0, index, values)
            values.grad = None


def count_moved(
    before: Mapping[str, torch.Tensor],
    after: Mapping[str, torch.Tensor],
    active: Mapping[str, torch.Tensor],
) -> tuple[int, int]:
    """Returns how many active and how many frozen elements differ, compared bit by bit.

    Args:
        before: Name -> float32 tensor; `after` and `active` (bool) have the same names and shapes.
    """
    moved_active = moved_frozen = 0
    for name, start in before.items():
        moved = start.view(torch.int32) != after[name].to(start.device).view(torch.int32)
        moved_active += int((moved & active[name]).sum())
        moved_frozen += int((moved & ~active[name]).sum())
    return moved_active, moved_frozen

"""What the masked trainer asks of the elements that it trains, whatever holds the matrices."""

from typing import Protocol

import torch


class TrainedElements(Protocol):
    """Active elements of an adapter in the form that an optimizer owns.

    One step is: backward pass, `gather`, clipping of the gradients of `values`, the optimizer's
    step on `values`, `scatter`. After `scatter` the adapter's active elements are as the optimizer
    left them, and its frozen elements have the bits that training started from.
    """

    @property
    def values(self) -> list[torch.nn.Parameter]:
        """What the optimizer owns, float32; shapes are the implementation's."""

    def gather(self) -> None:
        """Makes the gradients of `values` those of active elements, once a batch is complete."""

    def scatter(self) -> None:
        """Makes the adapter what the optimizer's step on `values` means."""

"""The largest number of bytes that are alive at once while operations run on tensors without data."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakBytes(TorchDispatchMode):
    """While it is open, counts the bytes of what operations allocate and what is freed.

    Args:
        known: Tensors that are not counted: parameters and buffers, of which views are made.

    Attributes:
        live: Bytes that are allocated now.
        peak: The most that were.
    """

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._kept = [tensor.untyped_storage() for tensor in known]
        self._seen: dict[int, Any] = {storage._cdata: None for storage in self._kept}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Runs an operation and counts what it returns."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        place = storage._cdata
        if place in self._seen:
            return
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        self._seen[place] = weakref.ref(storage, self._freer(place, size))

    def _freer(self, place: int, size: int) -> Callable[[Any], None]:
        def free(_: Any) -> None:
            self.live -= size
            del self._seen[place]

        return free

"""The elements of one system as keys in the order in which they are chosen, piece by piece."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lorapar_cli.elements.matrix_names import matrix_place
from lorapar_cli.elements.protection import discount
from lorapar_cli.elements.top_sets import Keys, Ranking, importance_keys, random_keys
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import System
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.store.importance_file import ImportanceFile

_OTHER = {System.SYSTEM1: System.SYSTEM2, System.SYSTEM2: System.SYSTEM1}
_LARGEST = np.uint32(0xFFFFFFFF)


def candidates(source: ImportanceFile, options: PartitionOptions) -> list[str]:
    """Returns the matrices whose elements may be chosen, sorted."""
    if options.only is None:
        return source.names
    chosen = [name for name in source.names if matrix_place(name).matrix == options.only]
    if not chosen:
        raise LoraparError(f"the adapter has no {options.only} matrices", f"in `{source.path}`")
    return chosen


@dataclass(frozen=True)
class ElementKeys:
    """One system's elements as keys.

    Attributes:
        other_mean: Mean importance for the other system, over all candidates; 0 without
            `--protect`.
    """

    source: ImportanceFile
    system: System
    options: PartitionOptions
    other_mean: float

    def importance(self, names: Sequence[str]) -> Keys:
        """Returns the importance of these matrices, after `--protect`.

        The keys' iteration raises `LoraparError` where importance cannot be ranked.
        """
        if not self.other_mean:
            return file_keys(self.source, self.system, names)

        def read() -> Iterator[np.ndarray]:
            pairs = zip(
                *(
                    file_keys(self.source, system, names)()
                    for system in (self.system, _OTHER[self.system])
                ),
                strict=True,
            )
            for own, other in pairs:
                values = discount(
                    own.view(np.float32),
                    other.view(np.float32),
                    self.other_mean,
                    self.options.protect,
                )
                yield importance_keys(values)

        return read

    def choice(self, names: Sequence[str]) -> Keys:
        """Returns keys that are larger for elements that are chosen earlier."""
        if self.options.select == "random":
            sizes = [
                (f"{name} {place}", size)
                for name in names
                for place, size in enumerate(self.source.piece_sizes(f"{self.system}/{name}"))
            ]
            return random_keys(sizes, self.options.seed, self.system)
        keys = self.importance(names)
        if self.options.select == "bottom":
            return lambda: (_LARGEST - vector for vector in keys())
        return keys


def element_keys(
    source: ImportanceFile, options: PartitionOptions, names: Sequence[str]
) -> dict[System, ElementKeys]:
    """Returns both systems' keys.

    Args:
        names: The candidates, over which the means for `--protect` are taken.

    Raises:
        LoraparError: Importance cannot be ranked.
    """
    means = dict.fromkeys(System, 0.0)
    if options.protect:
        for system, other in _OTHER.items():
            ranking = Ranking(file_keys(source, other, names))
            means[system] = ranking.total / ranking.elements
    return {system: ElementKeys(source, system, options, means[system]) for system in System}


def file_keys(source: ImportanceFile, system: System, names: Sequence[str]) -> Keys:
    """Returns one system's importance as keys, piece by piece in the names' order.

    The keys' iteration raises `LoraparError` where importance cannot be ranked.
    """

    def read() -> Iterator[np.ndarray]:
        for name in names:
            for piece in source.pieces(f"{system}/{name}"):
                try:
                    yield importance_keys(piece)
                except ValueError as cause:
                    raise LoraparError(
                        f"importance `{system}/{name}` cannot be ranked",
                        f"{cause}, in `{source.path}`",
                    ) from cause

    return read

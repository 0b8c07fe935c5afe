"""The size of one system's top set, as a user states it; standard library only."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.plurals import counted

_COUNT = re.compile(r"[0-9]{1,15}")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,12})?) ?%")


@dataclass(frozen=True)
class SetBudget:
    """A number of elements, or a share of all LoRA elements.

    Attributes:
        text: As it was typed.
        elements: The number; None for a share.
        share: Above 0 and at most 1; None for a number.
    """

    text: str
    elements: int | None
    share: Fraction | None

    def count(self, flag: str, all_elements: int, candidates: int) -> int:
        """Returns the number of elements; a share is that of all elements, rounded down.

        Args:
            flag: The option, for messages.
            all_elements: Of the adapter.
            candidates: Number of elements that may be chosen.

        Raises:
            LoraparError: It is less than one element, or more than there are to choose from.
        """
        count = self.elements
        if count is None:
            count = int(Fraction(self.share or 0) * all_elements)
        if count < 1:
            raise LoraparError(
                f"`{flag}` is less than one element",
                f"{self.text} of {counted(all_elements, 'element')}",
                "give a larger share, or a number of elements",
            )
        if count > candidates:
            raise LoraparError(
                f"`{flag}` exceeds the elements that can be chosen",
                f"{count:,} of {candidates:,}",
                f"give at most {candidates}",
            )
        return count


def read_budget(text: str, flag: str) -> SetBudget:
    """Returns the budget that a text such as `5000` or `0.01%` states.

    Raises:
        UsageError: It is neither a number of elements nor a percentage in range.
    """
    stripped = text.strip()
    if _COUNT.fullmatch(stripped) and int(stripped):
        return SetBudget(stripped, int(stripped), None)
    if found := _PERCENT.fullmatch(stripped):
        share = Fraction(found[1]) / 100
        if 0 < share <= 1:
            return SetBudget(stripped, None, share)
    raise UsageError(
        f"`{flag}` takes a number of elements or a percentage of all LoRA elements",
        repr(text),
        f"for instance `{flag} 5000` or `{flag} 0.01%`, above 0 and at most 100%",
    )


def spread(count: int, sizes: Sequence[int]) -> list[int]:
    """Returns parts of `count` in proportion to the sizes, which add up to it exactly.

    Each part is rounded down; what is left goes to the largest remainders, equal ones in order.
    """
    total = sum(sizes)
    parts = [count * size // total for size in sizes]
    order = sorted(range(len(sizes)), key=lambda place: (-(count * sizes[place] % total), place))
    for place in order[: count - sum(parts)]:
        parts[place] += 1
    return parts

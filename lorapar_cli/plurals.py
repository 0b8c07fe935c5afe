"""Numbers in sentences: `1 record is`, `2,000 records are`."""


def counted(number: int, noun: str, several: str | None = None) -> str:
    """Returns a number, by thousands, with its noun.

    Args:
        noun: Of one; may have words before it.
        several: Of any other number, where that is not the noun and an `s`.
    """
    return f"{number:,} {inflected(number, noun, several or f'{noun}s')}"


def inflected(number: int, one: str, several: str) -> str:
    """Returns the form of a word, as of a verb, that belongs to a number."""
    return one if number == 1 else several

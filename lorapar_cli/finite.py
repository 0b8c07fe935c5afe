"""Whether a number has a value; standard library only."""

import math


def is_finite(number: float) -> bool:
    """Returns whether a number is finite as float: a whole number of 400 digits is not."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False

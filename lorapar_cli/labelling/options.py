"""What is refused among the options of `classify` before anything is read."""

import math

from lorapar_cli.errors import UsageError
from lorapar_cli.labelling.teachers.catalog import how_to_price
from lorapar_cli.labelling.teachers.dispatch import RequestPolicy
from lorapar_cli.labelling.teachers.teacher import Teacher


def check_numbers(options: dict[str, float]) -> None:
    """Refuses nan and inf, which pass every check of a range."""
    for name, value in options.items():
        if not math.isfinite(value):
            raise UsageError(f"`{name} {value}` is no number that can be kept")


def check_options(
    teachers: list[Teacher],
    strategy: str,
    vote: str,
    economy: bool,
    min_votes: int | None,
    policy: RequestPolicy,
) -> None:
    """Refuses options of `classify` that contradict each other.

    Raises:
        UsageError: They do.
    """
    if strategy == "vote" and not teachers:
        raise UsageError("no teachers", hint="name them with `--teachers`")
    if strategy == "random" and teachers:
        raise UsageError(
            "`--strategy random` asks no teachers", f"{len(teachers)} are named", "leave them out"
        )
    if vote == "weighted" and len(teachers) < 3:
        raise UsageError(
            "`--vote weighted` needs at least three teachers",
            f"{len(teachers)}: with two nobody can tell which of them errs",
        )
    if vote == "weighted" and economy:
        raise UsageError("`--economy` leaves out votes that `--vote weighted` needs")
    if min_votes is not None and min_votes > len(teachers):
        raise UsageError(f"`--min-votes {min_votes}` is more than the {len(teachers)} teachers")
    unknown = [teacher for teacher in teachers if teacher.price is None]
    if policy.max_cost is not None and unknown:
        raise UsageError(
            "`--max-cost` cannot be kept where a price is unknown",
            f"teachers without a price: {', '.join(teacher.name for teacher in unknown)}",
            how_to_price(unknown),
        )

"""Which learning rate a stage uses, where it comes from, and what speaks against it.

The best rate rises as fewer elements are trained: on a tiny model from .032 at 36 % of the
elements to between .24 and .96 at .5 %. The paper gives one rate per stage, for masks of 36 to 43 %
of the elements (theta = .9) and for plain LoRA.
"""

from collections.abc import Collection

from lorapar_cli.options import options_of
from lorapar_cli.plurals import counted
from lorapar_cli.stage_records.training import RateSource
from lorapar_cli.training.options import TrainingOptions

PAPER_SHARE = 0.4
"""Share of the elements that the paper's masks activate, about."""
_FAR = 4
"""Factor from which the active share is far from the paper's."""


def source_of_rate(options: TrainingOptions, given: Collection[str]) -> RateSource:
    """Returns whether the learning rate is the default, was given, or is to be found.

    Args:
        given: Names of the options that the user gave.
    """
    if options.find_lr:
        return "found"
    return (
        "given"
        if "learning_rate" in given or _default(options) != options.learning_rate
        else ("default")
    )


def _default(options: TrainingOptions) -> object:
    return next(o.default for o in options_of(type(options)) if o.name == "learning_rate")


def rate_note(
    options: TrainingOptions, source: RateSource, active: int, elements: int
) -> str | None:
    """Returns a sentence on a default rate that was not made for so few elements, else None.

    In a dry run it also says what a search would do.
    """
    if source == "found" and options.dry_run:
        return (
            f"before training, the learning rate is found by trials of "
            f"{counted(options.find_lr_steps, 'step')}; the rates shown here are the default's"
        )
    share = active / elements
    if source != "default" or share * _FAR >= PAPER_SHARE:
        return None
    return (
        f"learning rate {options.learning_rate:g} is the paper's, for about {PAPER_SHARE:.0%} of the "
        f"elements; here {share:.2g} of them are active, and the best rate rises as fewer are trained "
        "(tenfold from 36 % to .5 % on a tiny model): `--find-lr` finds one, `--learning-rate` "
        "sets one"
    )

"""Which of a run's rewards tell right from wrong."""

from lorapar_cli.errors import UsageError
from lorapar_cli.training.rewards.load import WeightedRewards
from lorapar_cli.training.rewards.names import CODE, LATEX

_CORRECTNESS = ("answer", "choice", LATEX, CODE)


def find_judges(rewards: WeightedRewards) -> WeightedRewards:
    """Returns the rewards by all of which, each above 0, a completion passes.

    Those are the ones that compare with the reference; without any, the user's own functions.

    Raises:
        UsageError: All of them reward a form.
    """
    judges = {name: reward for name, reward in rewards.items() if name in _CORRECTNESS}
    judges = judges or {name: reward for name, reward in rewards.items() if "." in name}
    if not judges:
        raise UsageError(
            "`--min-pass` and `--max-pass` need a reward that tells right from wrong",
            f"the rewards are {', '.join(rewards)}",
            f"add one of {', '.join(_CORRECTNESS)}, or a function of your own, to `--rewards`",
        )
    return judges

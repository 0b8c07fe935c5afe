"""Options of `partition`, each stated once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lorapar_cli.errors import UsageError
from lorapar_cli.options import Options, option, out_option, seed_option
from lorapar_cli.partition.set_budget import SetBudget, read_budget

Scope = Literal["global", "module"]

_THETA = {"above": 0, "at_most": 1}
_SHARE = {"at_least": 0, "at_most": 1}


@dataclass(frozen=True)
class PartitionOptions(Options):
    """Options of `partition`.

    Raises:
        UsageError: An option out of range, or options that exclude each other.

    Source: LoRA-PAR Sec. 3; Tab. 2 for alpha and beta, Tab. 3 for theta and `random`.
    """

    theta: float = option(
        0.9, "Share of each system's importance that its top set holds; paper: theta.", **_THETA
    )
    theta_s1: float | None = option(None, "Theta of System 1. Default: `--theta`.", **_THETA)
    theta_s2: float | None = option(None, "Theta of System 2. Default: `--theta`.", **_THETA)
    alpha: float = option(1.0, "Share of shared elements active in SFT; paper: alpha.", **_SHARE)
    beta: float = option(1.0, "Share of shared elements active in RL; paper: beta.", **_SHARE)
    select: Literal["importance", "random", "bottom", "top"] = option(
        "importance",
        "What a system's top set is: the most important elements, which hold a share theta of its "
        "importance (importance), as many drawn at random (random), as many of the least important "
        "(bottom), or the most important fraction theta of all elements (top).",
    )
    scope: Scope = option(
        "global", "Cut all matrices together (global) or each one by itself (module)."
    )
    scope_s2: Scope | None = option(None, "Scope of System 2. Default: `--scope`.")
    only: Literal["A", "B"] | None = option(
        None, "Choose elements of the A or the B matrices only. Default: of both."
    )
    protect: float = option(
        0.0,
        "LAMBDA: divide each system's importance by 1 + LAMBDA times the other system's, relative "
        "to its mean; 0 leaves it as it is.",
        at_least=0,
    )
    budget: int | None = option(
        None,
        "Maximum number of elements in the union of both top sets; sets theta, to six decimals.",
        at_least=1,
    )
    budget_s1: str | None = option(
        None,
        "Size of System 1's top set in place of theta: a number of elements, or a percentage of "
        "all LoRA elements such as 0.01%.",
        metavar="N|N%",
    )
    budget_s2: str | None = option(
        None, "Size of System 2's top set, like `--budget-s1`.", metavar="N|N%"
    )
    plot: bool = option(False, "Draw scatter, heat map and curve into `plots/`.")
    importance: Path | None = option(
        None,
        "Importance file to cut. Default: the run's importance.safetensors.",
        panel="Where",
        recorded=False,
    )
    out: Path | None = out_option()
    seed: int = seed_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        for system, (budget, theta) in enumerate(
            zip(self.set_budgets, (self.theta_s1, self.theta_s2), strict=True), 1
        ):
            if budget is not None and theta is not None:
                raise UsageError(
                    f"`--budget-s{system}` takes the place of theta: omit `--theta-s{system}`"
                )
        if self.budget is None:
            return
        if self.select != "importance" or "module" in self.scopes:
            scopes = " and ".join(dict.fromkeys(self.scopes))
            raise UsageError(
                "`--budget` finds the theta of a global cut by importance",
                f"`--select` is {self.select}, the scope is {scopes}",
                "give the sizes of the two sets with `--budget-s1` and `--budget-s2`",
            )
        if self.theta_s1 is not None or self.theta_s2 is not None:
            raise UsageError("`--budget` sets theta: omit `--theta-s1` and `--theta-s2`")
        if any(self.set_budgets):
            raise UsageError(
                "`--budget` limits both sets together: omit `--budget-s1` and `--budget-s2`"
            )

    @property
    def thetas(self) -> tuple[float, float]:
        """Theta of System 1 and of System 2."""
        return (
            self.theta if self.theta_s1 is None else self.theta_s1,
            self.theta if self.theta_s2 is None else self.theta_s2,
        )

    @property
    def scopes(self) -> tuple[Scope, Scope]:
        """Scope of System 1 and of System 2."""
        return self.scope, self.scope if self.scope_s2 is None else self.scope_s2

    @property
    def set_budgets(self) -> tuple[SetBudget | None, SetBudget | None]:
        """Size of System 1's and of System 2's top set, None where theta decides.

        Raises:
            UsageError: One is neither a number of elements nor a percentage.
        """
        return (
            None if self.budget_s1 is None else read_budget(self.budget_s1, "--budget-s1"),
            None if self.budget_s2 is None else read_budget(self.budget_s2, "--budget-s2"),
        )

"""Options of `partition`, each stated once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lorapar_cli.errors import UsageError
from lorapar_cli.options import Options, option, out_option, seed_option

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
    select: Literal["importance", "random", "top"] = option(
        "importance",
        "What a system's top set is: the elements that hold a share theta of its importance "
        "(importance), as many elements drawn at random (random), or a fraction theta of all "
        "elements (top).",
    )
    scope: Literal["global", "module"] = option(
        "global", "Cut all matrices together (global) or each one by itself (module)."
    )
    budget: int | None = option(
        None,
        "Maximum number of elements in the union of both top sets; sets theta, to six decimals.",
        at_least=1,
    )
    plot: bool = option(
        False, "Draw scatter, heat map and curve into `plots/`; needs `lorapar[plot]`."
    )
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
        if self.budget is None:
            return
        if self.select != "importance" or self.scope != "global":
            raise UsageError(
                "`--budget` finds the theta of a global cut by importance",
                f"`--select` is {self.select}, `--scope` is {self.scope}",
            )
        if self.theta_s1 is not None or self.theta_s2 is not None:
            raise UsageError("`--budget` sets theta: omit `--theta-s1` and `--theta-s2`")

    @property
    def thetas(self) -> tuple[float, float]:
        """Theta of System 1 and of System 2."""
        return (
            self.theta if self.theta_s1 is None else self.theta_s1,
            self.theta if self.theta_s2 is None else self.theta_s2,
        )

"""Settings of `partition`."""

from dataclasses import dataclass

from lorapar_cli.errors import UsageError


@dataclass(frozen=True)
class PartitionOptions:
    """Settings of `partition`.

    Attributes:
        theta: Share of each system's importance that its top set reaches, 0 < theta <= 1.
        theta_s1, theta_s2: The same for one system; None for theta.
        alpha: Share of the shared elements active in SFT, 0 to 1.
        beta: Share of the shared elements active in RL, 0 to 1.
        select: `importance` (a share of it), `random` (as many elements as that, drawn by seed),
            or `top` (theta is a fraction of the elements).
        scope: `global` (one cut for all elements) or `module` (one a matrix, and so with alpha
            and beta).
        budget: At most so many elements in the union of the two sets; decides theta. None for
            theta as it is given.
        seed: Of `random`.
        plot: Whether to draw the pictures.

    Source: LoRA-PAR Sec. 3; Tab. 2 for alpha and beta, Tab. 3 for theta and `random`.
    """

    theta: float = 0.9
    theta_s1: float | None = None
    theta_s2: float | None = None
    alpha: float = 1.0
    beta: float = 1.0
    select: str = "importance"
    scope: str = "global"
    budget: int | None = None
    seed: int = 0
    plot: bool = False

    @property
    def thetas(self) -> tuple[float, float]:
        """Theta of System 1 and of System 2."""
        return (
            self.theta if self.theta_s1 is None else self.theta_s1,
            self.theta if self.theta_s2 is None else self.theta_s2,
        )


def check_options(options: PartitionOptions) -> None:
    """Refuses settings out of range and settings that exclude each other.

    Raises:
        UsageError: Says which.
    """
    for name in ("theta", "theta_s1", "theta_s2"):
        if (theta := getattr(options, name)) is not None:
            check_range(name, theta, above_zero=True)
    for name in ("alpha", "beta"):
        check_range(name, getattr(options, name), above_zero=False)
    if options.budget is not None:
        if options.budget < 1:
            raise UsageError("the budget must be at least 1 element", f"{options.budget}")
        if options.select != "importance" or options.scope != "global":
            raise UsageError(
                "`--budget` finds the theta of a global cut by importance",
                f"select is `{options.select}`, scope is `{options.scope}`",
            )
        if options.theta_s1 is not None or options.theta_s2 is not None:
            raise UsageError("`--budget` decides theta: give no `--theta-s1` or `--theta-s2`")


def check_range(name: str, share: float, above_zero: bool) -> None:
    if not (0 < share <= 1 if above_zero else 0 <= share <= 1):
        wanted = "above 0 and at most 1" if above_zero else "from 0 to 1"
        raise UsageError(f"{name} must be {wanted}", f"{share}")

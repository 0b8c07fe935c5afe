"""Options of both training stages on what is measured while they train."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lorapar_cli.errors import UsageError
from lorapar_cli.limits import LARGEST_BATCH, MOST_TOKENS
from lorapar_cli.options import Options, option

_WATCH = {"panel": "Watch"}
_SHARE = 0.1
_LARGEST_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class WatchOptions(Options):
    """Options on forgetting, the validation part, and which step is published.

    Raises:
        UsageError: An option out of range, or one that needs another.
    """

    forgetting: bool = option(
        True,
        "Measure before and after training what the stage makes the model forget.",
        earlier=False,
        decides=False,
        **_WATCH,
    )
    watch: int | None = option(
        None,
        "Measure forgetting every N steps as well, as a curve.",
        at_least=1,
        decides=False,
        metavar="N",
        **_WATCH,
    )
    neutral: Path | None = option(
        None,
        "Text on which forgetting is measured, its first 8,192 tokens. Default: a novel of 1865.",
        recorded=False,
        decides=False,
        **_WATCH,
    )
    eval_steps: int | None = option(
        None,
        "Measure loss and accuracy on a validation part every N steps.",
        at_least=1,
        metavar="N",
        **_WATCH,
    )
    validation: str | None = option(
        None,
        "Validation part: a share of each system's training records, at most 200, which are then not "
        "trained on, or a file of other records. Default: 0.1.",
        metavar="SHARE|FILE",
        **_WATCH,
    )
    keep: Literal["last", "best"] = option(
        "last",
        "Which step to publish: the last one, or the one whose validation loss (train-sft) or "
        "accuracy (train-rl) on the records of the stage's own system is best.",
        **_WATCH,
    )
    stop_after: int | None = option(
        None,
        "End training after this many evaluations in a row that were not better than the best one.",
        at_least=1,
        metavar="K",
        **_WATCH,
    )
    eval_match: Literal["answer", "latex", "exact", "choice"] = option(
        "answer", "When a validation record's answer is correct, as `--match` of `eval`.", **_WATCH
    )
    eval_max_new_tokens: int | None = option(
        None,
        "Tokens after which an answer is truncated when measuring. Default: 256, in train-rl "
        "`--max-completion-length`.",
        at_least=1,
        at_most=MOST_TOKENS,
        **_WATCH,
    )
    eval_batch_size: int = option(
        16,
        "Prompts that are completed together when measuring.",
        at_least=1,
        at_most=LARGEST_BATCH,
        **_WATCH,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.watch is not None and not self.forgetting:
            raise UsageError("`--watch` measures forgetting, which `--no-forgetting` turns off")
        if self.eval_steps is None:
            needy = {
                "--validation": self.validation is not None,
                "--keep best": self.keep == "best",
                "--stop-after": self.stop_after is not None,
            }
            if flags := [flag for flag, given in needy.items() if given]:
                raise UsageError(
                    f"`{flags[0]}` needs validation figures to go by",
                    hint="give `--eval-steps`, the number of steps between two evaluations",
                )
        share = self._share()
        if share is not None and not 0 < share <= _LARGEST_SHARE:
            raise UsageError(
                f"`--validation` must be above 0 and at most {_LARGEST_SHARE} as a share, not {share:g}",
                hint="a file of that name is given as `./NAME`",
            )

    def _share(self) -> float | None:
        """Returns the number that `validation` is, None where it is a file's name."""
        try:
            return _SHARE if self.validation is None else float(self.validation)
        except ValueError:
            return None

    @property
    def validation_share(self) -> float | None:
        """Share of the training records to validate on; None for none, or for a file."""
        return None if self.eval_steps is None else self._share()

    @property
    def validation_file(self) -> str | None:
        """Name of the file or data set to validate on; None for none, or for a share."""
        return None if self._share() is not None else self.validation


_VALIDATING = (
    *("eval_steps", "validation", "keep", "stop_after"),
    *("eval_match", "eval_max_new_tokens", "eval_batch_size"),
)


def idle_watching(settings: Mapping[str, Any]) -> set[str]:
    """Returns the settings on a validation part where there is none: nothing depends on them.

    Runs of earlier versions, which have no such settings, are then the same as runs without one.
    """
    return set(_VALIDATING) if settings.get("eval_steps") is None else set()

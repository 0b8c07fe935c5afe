"""Figures of watching by the keys that a step's line in metrics.jsonl has for them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lorapar_cli.stage_records.forgetting import Forgetting
from lorapar_cli.stage_records.training import ValidationPoint

_LOSS, _KL, _NEUTRAL = "heldout_loss/", "kl_from_base/", "neutral_loss"
_VALIDATION_LOSS, _VALIDATION_ACCURACY = "validation_loss/", "validation_accuracy/"
_WORDS = {
    _LOSS: "held-out loss",
    _KL: "KL from base",
    _VALIDATION_LOSS: "validation loss",
    _VALIDATION_ACCURACY: "validation accuracy",
}


def is_measured(logs: Mapping[str, Any]) -> bool:
    """Returns whether a line of logs is of watching, not of a step."""
    return _NEUTRAL in logs or any(key.startswith(tuple(_WORDS)) for key in logs)


def forgetting_figures(found: Forgetting) -> dict[str, float]:
    """Returns the figures of forgetting, a key each."""
    figures = {f"{_LOSS}{system}": value for system, value in found["loss"].items()}
    figures |= {f"{_KL}{system}": value for system, value in found.get("kl", {}).items()}
    return figures | {_NEUTRAL: found["neutral_loss"]}


def forgetting_of(history: Iterable[Mapping[str, Any]], step: int) -> Forgetting | None:
    """Returns what was measured at a step, from the lines of a run; None where nothing was."""
    for entry in history:
        if entry.get("step") == step and _NEUTRAL in entry:
            found: Forgetting = {"loss": _under(entry, _LOSS), "neutral_loss": entry[_NEUTRAL]}
            if kl := _under(entry, _KL):
                found["kl"] = kl
            return found
    return None


def validation_figures(
    losses: Mapping[str, Sequence[float]], answers: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    """Returns the figures of a validation part, a key each.

    Args:
        losses: System -> loss of each record.
        answers: System -> 1 or 0 for each record that was asked.
    """
    figures = {f"{_VALIDATION_LOSS}{s}": _mean(v) for s, v in sorted(losses.items())}
    return figures | {f"{_VALIDATION_ACCURACY}{s}": _mean(v) for s, v in sorted(answers.items())}


def validation_of(entry: Mapping[str, Any]) -> ValidationPoint:
    """Returns what was measured of a validation part, from a line of a run."""
    return {
        "step": int(entry["step"]),
        "loss": _under(entry, _VALIDATION_LOSS),
        "accuracy": _under(entry, _VALIDATION_ACCURACY),
    }


def describe_loss_of_ground(
    points: Iterable[ValidationPoint],
    published: int,
    measure: str,
    systems: Iterable[str],
) -> str | None:
    """Returns a sentence if the published step is worse than the start in all of these systems.

    Args:
        points: What was measured at the start, step 0, and at the published step, among others.
        measure: Figure to compare, `loss` or `accuracy`.
    """
    higher = measure == "accuracy"
    at = {point["step"]: point["accuracy"] if higher else point["loss"] for point in points}
    if 0 not in at or published not in at:
        return None
    pairs = [
        (system, at[0][system], at[published][system]) for system in systems if system in at[0]
    ]
    worse = [after < before if higher else after > before for _, before, after in pairs]
    if not pairs or not all(worse):
        return None
    style, verb = (".1%", "fell") if higher else (".4f", "rose")
    shown = ", ".join(f"{s} from {before:{style}} to {after:{style}}" for s, before, after in pairs)
    return (
        f"training made the stage's own records worse: validation {measure} {verb} on {shown}; lower "
        "`--learning-rate` (`--find-lr` searches), or keep the adapter that it started from"
    )


def describe_step(step: int, figures: Mapping[str, float]) -> str:
    """Returns the figures of a step in words."""
    parts = []
    for prefix, words in _WORDS.items():
        if found := _under(figures, prefix):
            is_share = prefix == _VALIDATION_ACCURACY
            shown = (
                f"{name} {v:.1%}" if is_share else f"{name} {v:.3g}" for name, v in found.items()
            )
            parts.append(f"{words} {', '.join(shown)}")
    if _NEUTRAL in figures:
        parts.append(f"neutral loss {figures[_NEUTRAL]:.4g}")
    return f"step {step}: {'; '.join(parts)}"


def _under(entry: Mapping[str, Any], prefix: str) -> dict[str, float]:
    return {
        key.removeprefix(prefix): float(value)
        for key, value in entry.items()
        if key.startswith(prefix)
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

"""From verdicts to what is reported: accuracy by model and group, differences by pair of models."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from lorapar_cli.core.intervals import paired_difference, wilson_interval

Groups = Sequence[dict[str, str]]
"""For each item: group kind (`system`, `steps`, `subject`) -> the group it is in."""


def describe_accuracy(verdicts: Sequence[bool]) -> dict[str, Any]:
    """Returns `n`, `correct`, `accuracy` (None where n is 0) and the 95 % Wilson `interval`."""
    n, correct = len(verdicts), sum(verdicts)
    return {
        "n": n,
        "correct": correct,
        "accuracy": correct / n if n else None,
        "interval": list(wilson_interval(correct, n)),
    }


def split_by_group(verdicts: Sequence[bool], groups: Groups) -> dict[str, dict[str, list[bool]]]:
    """Returns group kind -> group -> its items' verdicts, groups in order of their names."""
    split: dict[str, dict[str, list[bool]]] = {}
    for verdict, known in zip(verdicts, groups, strict=True):
        for kind, group in known.items():
            split.setdefault(kind, {}).setdefault(group, []).append(verdict)
    return {kind: dict(sorted(split[kind].items())) for kind in sorted(split)}


def summarize_model(name: str, verdicts: Sequence[bool], groups: Groups) -> dict[str, Any]:
    """Returns one model's entry: its accuracy, and `by_<kind>` with the accuracy of each group."""
    entry = {"model": name} | describe_accuracy(verdicts)
    for kind, members in split_by_group(verdicts, groups).items():
        entry[f"by_{kind}"] = {
            group: describe_accuracy(inside) for group, inside in members.items()
        }
    return entry


def compare_models(verdicts: dict[str, Sequence[bool]], groups: Groups) -> list[dict[str, Any]]:
    """Returns an entry for each pair of models, the later one against the earlier one.

    Args:
        verdicts: Model name -> verdicts on the same items in the same order.

    Returns:
        Each entry has `model`, `against`, the fields of `PairedDifference` with `interval` in
        place of its ends (`only_first` is the model's, `only_second` the other's), and
        `by_system` with the same where systems are known.
    """
    pairs = []
    for against, model in combinations(verdicts, 2):
        ours, theirs = verdicts[model], verdicts[against]
        entry = {"model": model, "against": against} | _describe_pair(ours, theirs)
        ours_split = split_by_group(ours, groups).get("system", {})
        theirs_split = split_by_group(theirs, groups).get("system", {})
        if ours_split:
            entry["by_system"] = {
                system: _describe_pair(ours_split[system], theirs_split[system])
                for system in ours_split
            }
        pairs.append(entry)
    return pairs


def _describe_pair(ours: Sequence[bool], theirs: Sequence[bool]) -> dict[str, Any]:
    described = asdict(paired_difference(ours, theirs))
    low, high = described.pop("low"), described.pop("high")
    return described | {"interval": [low, high]}

"""From verdicts to what is reported: accuracy by model and group, differences by pair of models."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations, groupby
from typing import Any

from lorapar_cli.evaluation.intervals import (
    majority_answer,
    paired_difference,
    pass_at_k,
    wilson_interval,
)
from lorapar_cli.evaluation.sample_journal import Sample
from lorapar_cli.grading.answers import answers_match

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
    """Returns group kind -> group -> its items' verdicts, groups by number or name."""
    split: dict[str, dict[str, list[bool]]] = {}
    for verdict, known in zip(verdicts, groups, strict=True):
        for kind, group in known.items():
            split.setdefault(kind, {}).setdefault(group, []).append(verdict)
    return {kind: dict(sorted(split[kind].items(), key=_place)) for kind in sorted(split)}


def _place(group: tuple[str, Any]) -> tuple[float, str]:
    name = group[0]
    return (int(name) if name.isdecimal() else math.inf, name)


def summarize_model(name: str, verdicts: Sequence[bool], groups: Groups) -> dict[str, Any]:
    """Returns one model's entry: its accuracy, and `by_<kind>` with the accuracy of each group."""
    entry = {"model": name} | describe_accuracy(verdicts)
    for kind, members in split_by_group(verdicts, groups).items():
        entry[f"by_{kind}"] = {
            group: describe_accuracy(inside) for group, inside in members.items()
        }
    return entry


def describe_draws(
    verdicts: Sequence[Sequence[bool]],
    answers: Sequence[Sequence[str | None]] | None,
    references: Sequence[str],
    ks: Sequence[int],
) -> dict[str, Any]:
    """Returns `pass_at_k` and, where answers are given, `maj_at_k`, each by k.

    Args:
        verdicts: For each item the verdict of each draw.
        answers: For each item the answer of each draw, for the vote of the first k of them.

    Returns:
        pass@k as the mean of the unbiased estimates, maj@k as accuracy, each with the 95 %
        Wilson interval over items.
    """
    described: dict[str, Any] = {"pass_at_k": {}}
    for k in ks:
        shares = [pass_at_k(len(draws), sum(draws), k) for draws in verdicts]
        mean = sum(shares) / len(shares)
        # Shares between 0 and 1 vary less than verdicts of the same mean: this is no narrower.
        interval = list(wilson_interval(sum(shares), len(shares)))
        described["pass_at_k"][str(k)] = {"accuracy": mean, "interval": interval}
    if answers is not None:
        described["maj_at_k"] = {
            str(k): describe_accuracy(
                [
                    answers_match(majority_answer(draws[:k]), reference)
                    for draws, reference in zip(answers, references, strict=True)
                ]
            )
            for k in ks
        }
    return described


def compare_models(verdicts: Mapping[str, Sequence[bool]], groups: Groups) -> list[dict[str, Any]]:
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


def summarize_samples(
    match: str,
    samples: Mapping[str, Sequence[Sample]],
    groups: Groups,
    ks: Sequence[int],
) -> dict[str, Any]:
    """Returns `models` and `pairs` of results.json; a model's verdict is that of its first draw.

    Args:
        match: The rule that judged.
        samples: Model name -> its samples in the order of the items, draws of one item
            together; every model has the same items.
        groups: Of each item.
        ks: For pass@k and maj@k, where items were drawn several times.
    """
    by_item = {name: _by_item(lines) for name, lines in samples.items()}
    first = {name: [draws[0]["correct"] for draws in items] for name, items in by_item.items()}
    entries = []
    for name, items in by_item.items():
        entry = summarize_model(name, first[name], groups)
        if match == "answer":
            strict = [draws[0]["correct_strict"] for draws in items]
            entry["strict"] = describe_accuracy(strict)
        if match == "likelihood":
            shares = [inside["accuracy"] for inside in entry["by_subject"].values()]
            entry["macro_accuracy"] = sum(shares) / len(shares)
        if len(samples[name]) > len(items):
            answers = [[line["extracted"] for line in draws] for draws in items]
            entry |= describe_draws(
                [[line["correct"] for line in draws] for draws in items],
                answers if match in ("answer", "latex", "choice") else None,
                [draws[0]["reference"] for draws in items],
                ks,
            )
        entry["completions"] = len(samples[name])
        entry["cut"] = sum(not line.get("finished", True) for line in samples[name])
        entries.append(entry)
    return {"models": entries, "pairs": compare_models(first, groups)}


def _by_item(lines: Sequence[Sample]) -> list[list[Sample]]:
    return [list(draws) for _, draws in groupby(lines, key=lambda line: line["id"])]

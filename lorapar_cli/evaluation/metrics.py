"""From graded samples to what is reported: accuracy by model and group, differences by pair."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations, groupby
from typing import Literal

from lorapar_cli.evaluation.intervals import (
    majority_answer,
    paired_difference,
    pass_at_k,
    wilson_interval,
)
from lorapar_cli.evaluation.problems import count_problems
from lorapar_cli.evaluation.sample_journal import Sample
from lorapar_cli.evaluation.tasks.task import GroupKind, Rule
from lorapar_cli.stage_records.evaluation import (
    Accuracy,
    Difference,
    EvalMetrics,
    GroupAccuracies,
    ModelRow,
    PairRow,
    PassAtK,
    RuleAccuracies,
    SampledAccuracies,
)

Groups = Sequence[Mapping[GroupKind, str]]
"""For each item: kind of group -> the group it is in."""

_KEYS: dict[GroupKind, Literal["by_group", "by_steps", "by_subject", "by_system"]] = {
    "group": "by_group",
    "steps": "by_steps",
    "subject": "by_subject",
    "system": "by_system",
}


def summarize_samples(
    match: Rule,
    samples: Mapping[str, Sequence[Sample]],
    groups: Groups,
    ks: Sequence[int],
) -> EvalMetrics:
    """Returns `models` and `pairs` of results.json; accuracy is that of each item's first draw.

    Args:
        match: The rule of grading.
        samples: Model name -> its samples in the order of the items, those of one item together;
            every model has the same items.
        groups: Of each item.
        ks: For pass@k and maj@k, where items have several samples.
    """
    by_item = {
        name: [list(own) for _, own in groupby(lines, key=lambda sample: sample["id"])]
        for name, lines in samples.items()
    }
    first = {name: [own[0]["correct"] for own in items] for name, items in by_item.items()}
    return {
        "models": [
            summarize_model(name, match, items, groups, ks) for name, items in by_item.items()
        ],
        "pairs": compare_models(first, groups),
    }


def summarize_model(
    name: str, match: Rule, items: Sequence[Sequence[Sample]], groups: Groups, ks: Sequence[int]
) -> ModelRow:
    """Returns one model's row.

    Args:
        items: The samples of each item.
    """
    correct = [own[0]["correct"] for own in items]
    by_group = measure_groups(correct, groups)
    if match != "likelihood":
        add_group_problems(by_group, match, items, groups)
    samples = [sample for own in items for sample in own]
    by_rule: RuleAccuracies = {}
    if match == "answer":
        by_rule["strict"] = measure_accuracy([own[0]["correct_strict"] for own in items])
    if match == "code":
        by_rule["plain"] = measure_accuracy([own[0]["correct_plain"] for own in items])
    if match == "likelihood":
        shares = [inside["correct"] / inside["n"] for inside in by_group["by_subject"].values()]
        by_rule["macro_accuracy"] = sum(shares) / len(shares)
    several = len(samples) > len(items)
    row: ModelRow = {
        "model": name,
        **measure_accuracy(correct),
        **by_group,
        **by_rule,
        **(measure_samples(match, items, ks) if several else SampledAccuracies()),
        "completions": len(samples),
        "cut": sum(not sample.get("finished", True) for sample in samples),
    }
    if match != "likelihood":
        row["problems"] = count_problems(match, samples)
    return row


def measure_accuracy(correct: Sequence[bool]) -> Accuracy:
    """Returns the accuracy on items of which these are correct."""
    n, right = len(correct), sum(correct)
    return {
        "n": n,
        "correct": right,
        "accuracy": right / n if n else None,
        "interval": list(wilson_interval(right, n)),
    }


def split_by_group(
    correct: Sequence[bool], groups: Groups
) -> dict[GroupKind, dict[str, list[bool]]]:
    """Returns kind -> group -> which of its items are correct, groups by number or name."""
    split: dict[GroupKind, dict[str, list[bool]]] = {}
    for right, known in zip(correct, groups, strict=True):
        for kind, group in known.items():
            split.setdefault(kind, {}).setdefault(group, []).append(right)
    return {kind: dict(sorted(split[kind].items(), key=_place)) for kind in sorted(split)}


def _place(group: tuple[str, list[bool]]) -> tuple[float, str]:
    name = group[0]
    return (int(name) if name.isdecimal() else math.inf, name)


def measure_groups(correct: Sequence[bool], groups: Groups) -> GroupAccuracies:
    """Returns the accuracy of each group of each kind."""
    measured: GroupAccuracies = {}
    for kind, members in split_by_group(correct, groups).items():
        measured[_KEYS[kind]] = {
            group: measure_accuracy(inside) for group, inside in members.items()
        }
    return measured


def add_group_problems(
    measured: GroupAccuracies,
    match: Rule,
    items: Sequence[Sequence[Sample]],
    groups: Groups,
) -> None:
    """Adds the problems of each group's completions to its accuracy.

    Args:
        measured: What `measure_groups` returned.
        items: The samples of each item.
    """
    samples: dict[tuple[GroupKind, str], list[Sample]] = {}
    for own, known in zip(items, groups, strict=True):
        for kind, group in known.items():
            samples.setdefault((kind, group), []).extend(own)
    for (kind, group), inside in samples.items():
        measured[_KEYS[kind]][group]["problems"] = count_problems(match, inside)


def measure_samples(
    match: Rule, items: Sequence[Sequence[Sample]], ks: Sequence[int]
) -> SampledAccuracies:
    """Returns `pass_at_k` and, where completions have answers, `maj_at_k`.

    pass@k is the mean of the unbiased estimates; the answers of the first k samples vote for maj@k.
    Only equal answers share their votes: whether several are accepted is not known before the vote.

    Args:
        items: The samples of each item.
    """
    measured: SampledAccuracies = {"pass_at_k": {str(k): _measure_pass(items, k) for k in ks}}
    if match in ("answer", "latex", "choice"):
        measured["maj_at_k"] = {str(k): measure_accuracy(_majorities(items, k)) for k in ks}
    return measured


def _measure_pass(items: Sequence[Sequence[Sample]], k: int) -> PassAtK:
    shares = [pass_at_k(len(own), sum(sample["correct"] for sample in own), k) for own in items]
    draws = min(map(len, items))
    # Shares between 0 and 1 vary less than zeros and ones of the same mean: Wilson's interval is
    # no narrower than it must be.
    interval = wilson_interval(sum(shares), len(shares))
    return {"pass_rate": sum(shares) / len(shares), "draws": draws, "interval": list(interval)}


def _majorities(items: Sequence[Sequence[Sample]], k: int) -> list[bool]:
    """Returns for each item whether the most frequent of its first k answers is correct."""
    return [_majority_is_correct(own[:k]) for own in items]


def _majority_is_correct(samples: Sequence[Sample]) -> bool:
    elected = majority_answer([sample["extracted"] for sample in samples])
    # By the grade that its sample has: the rule and all accepted answers went into it.
    return any(s["correct"] for s in samples if s["extracted"] == elected)


def compare_models(correct: Mapping[str, Sequence[bool]], groups: Groups) -> list[PairRow]:
    """Returns a row for each pair of models, the later one minus the earlier one.

    Args:
        correct: Model name -> which items it gets right; the same items in the same order for each.
    """
    rows = []
    for against, model in combinations(correct, 2):
        row: PairRow = {
            "model": model,
            "against": against,
            **compare_pair(correct[model], correct[against]),
        }
        systems = split_by_group(correct[model], groups).get("system", {})
        others = split_by_group(correct[against], groups).get("system", {})
        if systems:
            row["by_system"] = {
                system: compare_pair(systems[system], others[system]) for system in systems
            }
        rows.append(row)
    return rows


def compare_pair(first: Sequence[bool], second: Sequence[bool]) -> Difference:
    """Returns the difference of two models on the same items."""
    found = paired_difference(first, second)
    return {
        "n": found.n,
        "only_first": found.only_first,
        "only_second": found.only_second,
        "difference": found.difference,
        "p_value": found.p_value,
        "interval": [found.low, found.high],
    }

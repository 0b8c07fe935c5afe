"""Pairs the samples of two evaluations: which items changed, and is the difference more than chance?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.intervals import paired_difference
from lorapar_cli.evaluation.review.read import Evaluation, verdict
from lorapar_cli.evaluation.sample_journal import Sample
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.stage_records.forgetting import Forgetting

# How answers are asked for and graded; which model gives them is what is compared.
_MUST_AGREE = ("style", "num_fewshot", "max_new_tokens", "draws", "temperature", "top_p")
_MUST_AGREE_IN_CODE = ("sandbox", "code")


class RunDifference(TypedDict):
    """The second evaluation minus the first one on the same items.

    Keys:
        first, second: Number of items that each gets right.
        only_first, only_second: Items that only this one gets right.
        difference: Of the accuracies, -1 to 1.
        p_value: Exact two-sided McNemar test of no difference.
        interval: Both ends of the 95 % interval of the difference.
    """

    n: int
    first: int
    second: int
    only_first: int
    only_second: int
    difference: float
    p_value: float
    interval: list[float]


class PairedModels(RunDifference):
    """One model of each evaluation.

    Keys:
        only_first_ids, only_second_ids: Ids of these items, in the order of the first evaluation.
    """

    first_model: str
    second_model: str
    by_system: NotRequired[dict[str, RunDifference]]
    only_first_ids: list[str]
    only_second_ids: list[str]


@dataclass(frozen=True)
class Match:
    """Which items of two test sets are the same.

    Attributes:
        common: Ids with the same question and reference in both, in the order of the first.
        other_question, other_reference: Ids in both whose question, or else reference, differs.
        only_first, only_second: Number of ids that one of them has alone.
    """

    common: list[str]
    other_question: list[str]
    other_reference: list[str]
    only_first: int
    only_second: int

    @property
    def is_whole(self) -> bool:
        """Whether both test sets are the same."""
        return not (
            self.other_question or self.other_reference or self.only_first or self.only_second
        )


@dataclass(frozen=True)
class Changed:
    """An item that one evaluation gets right and the other one wrong: both samples."""

    first: Sample
    second: Sample


@dataclass(frozen=True)
class Comparison:
    """Two evaluations, paired.

    Attributes:
        notes: Differences between them that a reader must know.
        changed: Samples of the items that changed, by the pair's place in `pairs`.
    """

    pairs: list[PairedModels]
    notes: list[str] = field(default_factory=list)
    changed: list[list[Changed]] = field(default_factory=list)


class ChangedSamples(TypedDict):
    """Both samples of an item that one evaluation gets right and the other one wrong."""

    first: Sample
    second: Sample


class PairedEvaluations(TypedDict):
    """Two evaluations, paired.

    Keys:
        first, second: Their folders.
        accuracy_of: Which completion of each item the accuracies are about, of both.
        notes: Differences between them that a reader must know.
        forgetting: Model -> its figures, of both.
        changed: Samples of items that changed, by the pair's place; with `--show`.
    """

    first: str
    second: str
    accuracy_of: list[str]
    notes: list[str]
    pairs: list[PairedModels]
    forgetting: list[dict[str, Forgetting]]
    changed: NotRequired[list[list[ChangedSamples]]]


Samples = dict[str, dict[str, Sample]]
"""Model -> id -> first sample of the item."""


def compare_evaluations(
    first: Evaluation, second: Evaluation, models: Sequence[tuple[str, str]] | None, anyway: bool
) -> Comparison:
    """Returns how the models of two evaluations differ on the same items.

    Args:
        models: Pairs of a model of the first and one of the second; None for each that both have.
        anyway: Whether to compare the items that both have where test sets or settings differ.

    Raises:
        LoraparError, UsageError: They differ in what is asked or how, or have no model in common.
    """
    pairs = _choose_pairs(first, second, models)
    notes = _differences(first, second)
    if notes and not anyway:
        raise LoraparError(
            "the two evaluations ask or grade in different ways",
            "\n".join(notes),
            "compare them all the same with `--anyway`",
        )
    ours, theirs = _first_draws(first), _first_draws(second)
    match = match_items(ours[pairs[0][0]], theirs[pairs[0][1]])
    if not match.is_whole:
        said = _describe_match(match)
        if not (match.common and anyway):
            raise LoraparError(
                "the two evaluations have different test sets",
                said,
                f"compare the {counted(len(match.common), 'common one')} with `--anyway`"
                if match.common
                else None,
            )
        notes.append(said)
    found = [_pair(ours[a], theirs[b], match.common) for a, b in pairs]
    return Comparison(
        [
            {"first_model": a, "second_model": b, **paired}
            for (a, b), (paired, _) in zip(pairs, found, strict=True)
        ],
        notes,
        [changed for _, changed in found],
    )


def _choose_pairs(
    first: Evaluation, second: Evaluation, models: Sequence[tuple[str, str]] | None
) -> list[tuple[str, str]]:
    if models is None:
        models = [(name, name) for name in first.models if name in second.models]
        if not models:
            raise UsageError(
                "the two evaluations have no model in common",
                f"{', '.join(first.models)}; and {', '.join(second.models)}",
                "name one of each with `--model` and `--against`",
            )
    for place, evaluation in enumerate((first, second)):
        for pair in models:
            if pair[place] not in evaluation.models:
                raise UsageError(
                    f"`{pair[place]}` was not evaluated in `{evaluation.folder}`",
                    ", ".join(evaluation.models),
                )
    return list(models)


def _differences(first: Evaluation, second: Evaluation) -> list[str]:
    """Returns what differs in the way of asking and grading, a line each."""
    ours: dict[str, Any] = {"task": first.task, "match": first.match, **first.settings}
    theirs: dict[str, Any] = {"task": second.task, "match": second.match, **second.settings}
    names = ["task", "match"]
    # Of given completions it is not known how they were asked for.
    if "base_model" in ours and "base_model" in theirs:
        names += _MUST_AGREE if first.match != "likelihood" else ("num_fewshot",)
    if first.match == "code":
        names += _MUST_AGREE_IN_CODE
    return [
        f"{name}: {ours.get(name)!r} in the first, {theirs.get(name)!r} in the second"
        for name in names
        if ours.get(name) != theirs.get(name)
    ]


def _first_draws(evaluation: Evaluation) -> Samples:
    kept: Samples = {name: {} for name in evaluation.models}
    for sample in evaluation.samples():
        if verdict(sample) is None:
            raise LoraparError(
                f"`{evaluation.folder}` cannot be paired",
                f"`{sample['id']}` is neither right nor wrong by the metrics of its task",
                "evaluate tasks with `acc` or `exact_match`",
            )
        kept.setdefault(sample["model"], {}).setdefault(sample["id"], sample)
    return kept


def match_items(first: Mapping[str, Sample], second: Mapping[str, Sample]) -> Match:
    """Returns which items are the same: by id, digest of the question, and accepted answers.

    Args:
        first, second: Id -> sample.
    """
    common, questions, references = [], [], []
    for name, sample in first.items():
        if (other := second.get(name)) is None:
            continue
        if _question(sample, other) != _question(other, sample):
            questions.append(name)
        elif _accepted(sample) != _accepted(other):
            references.append(name)
        else:
            common.append(name)
    shared = len(common) + len(questions) + len(references)
    return Match(common, questions, references, len(first) - shared, len(second) - shared)


def _question(sample: Sample, other: Sample) -> object:
    # Evaluations of earlier builds have no digest: their prompts are all that can be compared.
    has_digest = "question" in sample and "question" in other
    return sample["question"] if has_digest else sample["prompt"]


def _accepted(sample: Sample) -> set[str]:
    return set(sample.get("reference_answers") or [sample["reference"]])


def _describe_match(match: Match) -> str:
    parts = [f"{counted(len(match.common), 'item')} could be paired"]
    if match.only_first or match.only_second:
        parts.append(
            f"{match.only_first:,} {inflected(match.only_first, 'is', 'are')} only in the first, "
            f"{match.only_second:,} only in the second"
        )
    for names, what in (
        (match.other_question, "another question"),
        (match.other_reference, "another reference"),
    ):
        if names:
            parts.append(
                f"{len(names):,} {inflected(len(names), 'has', 'have')} one id and {what}, such as `{names[0]}`"
            )
    return "; ".join(parts)


class _Paired(RunDifference):
    by_system: NotRequired[dict[str, RunDifference]]
    only_first_ids: list[str]
    only_second_ids: list[str]


def _pair(
    first: Mapping[str, Sample], second: Mapping[str, Sample], ids: Sequence[str]
) -> tuple[_Paired, list[Changed]]:
    right = {name: (first[name]["correct"], second[name]["correct"]) for name in ids}
    systems: dict[str, list[str]] = {}
    for name in ids:
        if (system := first[name].get("system")) is not None:
            systems.setdefault(system, []).append(name)
    paired: _Paired = {
        **_measure([right[name] for name in ids]),
        "only_first_ids": [name for name in ids if right[name] == (True, False)],
        "only_second_ids": [name for name in ids if right[name] == (False, True)],
    }
    if systems:
        paired["by_system"] = {
            system: _measure([right[name] for name in own])
            for system, own in sorted(systems.items())
        }
    changed = [Changed(first[name], second[name]) for name in ids if len(set(right[name])) > 1]
    return paired, changed


def _measure(right: Sequence[tuple[bool, bool]]) -> RunDifference:
    # Later minus earlier, so that the second run comes first here.
    found = paired_difference([b for _, b in right], [a for a, _ in right])
    return {
        "n": found.n,
        "first": sum(a for a, _ in right),
        "second": sum(b for _, b in right),
        "only_first": found.only_second,
        "only_second": found.only_first,
        "difference": found.difference,
        "p_value": found.p_value,
        "interval": [found.low, found.high],
    }

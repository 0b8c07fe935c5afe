"""Chooses samples for a person to read, and says why each is right or wrong."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.evaluation.problems import why_failed
from lorapar_cli.evaluation.review.read import Evaluation, verdict
from lorapar_cli.evaluation.sample_journal import Sample
from lorapar_cli.plurals import counted
from lorapar_cli.store.records import Message

_LONGEST_LIST = 5


@dataclass(frozen=True)
class Choice:
    """Which samples to show.

    Attributes:
        wrong, right: Number of wrong and of right samples of each model; None for all, those that
            are neither among them.
        models: Names of models, empty for all.
        systems, ids: Systems and ids of items, empty for all.
    """

    wrong: int | None
    right: int | None
    models: Sequence[str] = ()
    systems: Sequence[str] = ()
    ids: Sequence[str] = ()


class ShownSample(Sample):
    """A sample, and why it is right or wrong in words."""

    why: str


class ShownSamples(TypedDict):
    """Samples of an evaluation.

    Keys:
        evaluation: Its folder.
        match: How answers were compared.
    """

    evaluation: str
    task: str
    match: str
    samples: list[ShownSample]


def show_samples(evaluation: Evaluation, choice: Choice) -> ShownSamples:
    """Returns the chosen samples for programs.

    Raises:
        LoraparError, UsageError: As `choose_samples`.
    """
    return {
        "evaluation": str(evaluation.folder),
        "task": evaluation.task,
        "match": evaluation.match,
        "samples": [
            {**sample, "why": explain(sample, evaluation)}
            for sample in choose_samples(evaluation, choice)
        ],
    }


def choose_samples(evaluation: Evaluation, choice: Choice) -> list[Sample]:
    """Returns the samples to show, in the order of the file.

    Raises:
        LoraparError: Nothing has one of the ids or systems.
        UsageError: A model was not evaluated.
    """
    for name in choice.models:
        if name not in evaluation.models:
            raise UsageError(
                f"`{name}` was not evaluated{nearest(name, evaluation.models)}",
                f"`{evaluation.folder}` has {', '.join(evaluation.models)}",
            )
    seen: dict[str, set[str]] = {"id": set(), "system": set()}
    chosen = list(_choose(evaluation.samples(), choice, seen))
    for kind, wanted in (("id", choice.ids), ("system", choice.systems)):
        if missing := [each for each in wanted if each not in seen[kind]]:
            known = sorted(seen[kind])
            raise LoraparError(
                f"no record has the {kind} `{missing[0]}`{nearest(missing[0], known)}",
                ", ".join(known[:_LONGEST_LIST]) + (", ..." if len(known) > _LONGEST_LIST else ""),
            )
    return chosen


def _choose(
    samples: Iterable[Sample], choice: Choice, seen: dict[str, set[str]]
) -> Iterator[Sample]:
    left: Counter[tuple[str, bool | None]] = Counter()
    for sample in samples:
        system = sample.get("system")
        seen["id"].add(sample["id"])
        if system is not None:
            seen["system"].add(system)
        if (
            (choice.models and sample["model"] not in choice.models)
            or (choice.systems and system not in choice.systems)
            or (choice.ids and sample["id"] not in choice.ids)
        ):
            continue
        right = verdict(sample)
        key = (sample["model"], right)
        most = choice.right if right else choice.wrong
        # Neither right nor wrong by the harness's metrics: shown where all of an item is.
        if right is None and most is not None:
            continue
        if most is None or left[key] < most:
            left[key] += 1
            yield sample


def explain(sample: Sample, evaluation: Evaluation) -> str:
    """Returns why a sample is right or wrong, in words."""
    if "metrics" in sample:
        values = (f"{name} {value:g}" for name, value in sample["metrics"].items())
        return ", ".join(values) or "the harness gives no metric of a single answer"
    if evaluation.match == "code":
        said = [_explain_program(sample)]
    elif "scores" in sample:
        scores = ", ".join(f"{score:.3f}" for score in sample["scores"])
        chosen = "is" if sample["correct"] else "is not"
        said = [f"the likeliest choice {chosen} the reference; log-likelihoods: {scores}"]
    elif not sample["extracted"]:
        said = ["no answer was found"]
    elif sample["correct"]:
        said = ["the extracted answer is an accepted one"]
    else:
        said = ["the extracted answer is not an accepted one"]
    if not sample.get("finished", True):
        tokens = sample.get("tokens")
        said.append("truncated" + (f" at {counted(tokens, 'token')}" if tokens else ""))
    strict = sample.get("correct_strict")
    if strict is not None and strict != sample["correct"] and evaluation.task == "gsm8k":
        found = sample.get("extracted_strict")
        said.append(f"by the strict rule {'right' if strict else 'wrong'} ({found or 'no answer'})")
    return "; ".join(said)


def _explain_program(sample: Sample) -> str:
    failure = why_failed(sample)
    if failure is None:
        return "the program passes its tests"
    reason = sample.get("reason", "")
    return f"{failure}: {reason}" if reason else failure


@dataclass(frozen=True)
class Shortened:
    """A text for a person to read.

    Attributes:
        text: All of it, or its beginning and its end.
        left_out: Number of characters that are not in it.
    """

    text: str
    left_out: int = 0


def shorten(text: str, begin: int, end: int) -> Shortened:
    """Returns a text without its middle, where it is longer than these parts together.

    Args:
        begin, end: Characters to keep of its beginning and end.
    """
    left_out = len(text) - begin - end
    if left_out <= 0:
        return Shortened(text)
    head, tail = text[:begin].rstrip(), text[len(text) - end :].lstrip()
    return Shortened(
        f"{head}\n[... {counted(left_out, 'character')} left out ...]\n{tail}", left_out
    )


def question_text(prompt: str | list[Message]) -> str:
    """Returns a prompt as text, the turns of a chat by their roles."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"[{turn.get('role')}] {turn.get('content')}" for turn in prompt)

"""Records of a run for its page: where teachers disagree, and what the models answer."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from lorapar_cli.evaluation.review.read import read_evaluation, verdict
from lorapar_cli.evaluation.sample_journal import Sample
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.plurals import counted
from lorapar_cli.store.disk.regular_files import exists
from lorapar_cli.store.records import read_jsonl
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.verify import check_written

PER_PATTERN = 3
DISAGREEMENTS = 5
_LONGEST = 1_500


@dataclass(frozen=True)
class Answer:
    """One model's completion of an item.

    Attributes:
        correct: None where nothing says so.
    """

    model: str
    text: str
    extracted: str
    correct: bool | None


@dataclass(frozen=True)
class Item:
    """An item with the answers of each model."""

    id: str
    prompt: str
    reference: str
    answers: list[Answer]


@dataclass(frozen=True)
class Pattern:
    """The items that the same models get right.

    Attributes:
        words: "base wrong, sft right".
        count: Number of items, of which `examples` has the first few.
    """

    words: str
    count: int
    examples: list[Item]


@dataclass(frozen=True)
class Disagreement:
    """A record on which teachers do not agree."""

    id: str
    prompt: str
    completion: str
    label: str
    votes: dict[str, str]


def sample_patterns(folder: Path) -> list[Pattern]:
    """Returns the items of an evaluation by which models get them right, most frequent first.

    Only each item's first completion is looked at.

    Raises:
        LoraparError: The samples are missing or damaged.
    """
    evaluation = read_evaluation(folder)
    by_item: dict[str, list[Sample]] = {}
    for sample in evaluation.samples():
        if sample["draw"] == 0:
            by_item.setdefault(sample["id"], []).append(sample)
    found = []
    for words, group in groupby(sorted(by_item.values(), key=_words), key=_words):
        items = list(group)
        found.append(Pattern(words, len(items), [_item(each) for each in items[:PER_PATTERN]]))
    return sorted(found, key=lambda pattern: (-pattern.count, pattern.words))


def _words(samples: list[Sample]) -> str:
    said = {True: "right", False: "wrong", None: "not graded"}
    return ", ".join(f"{sample['model']} {said[verdict(sample)]}" for sample in samples)


def _item(samples: list[Sample]) -> Item:
    first = samples[0]
    return Item(
        shorten(first["id"]),
        shorten(first["prompt"]),
        shorten(first["reference"]),
        [
            Answer(
                sample["model"],
                shorten(sample["completion"]),
                shorten(sample["extracted"]),
                verdict(sample),
            )
            for sample in samples
        ],
    )


def disagreements(run_dir: RunDir) -> list[Disagreement]:
    """Returns the first records on which teachers disagree; none where `classify` wrote none.

    Raises:
        LoraparError: The file is damaged.
    """
    path = run_dir.folder(Stage.CLASSIFY) / Artifact.DISAGREEMENTS
    if not exists(path):
        return []
    check_written(path)
    return list(_read_disagreements(path))


def _read_disagreements(path: Path) -> Iterator[Disagreement]:
    for count, (_, row) in enumerate(read_jsonl(path)):
        if count == DISAGREEMENTS:
            return
        yield Disagreement(
            shorten(row.get("id")),
            shorten(row.get("prompt")),
            shorten(row.get("completion")),
            shorten(row.get("label")),
            {name: shorten(vote) for name, vote in row.get("votes", {}).items()},
        )


def shorten(value: Any) -> str:
    """Returns a value as text; of a long one the beginning, and how much is left out."""
    text = "" if value is None else _as_text(value)
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]} … ({counted(len(text) - _LONGEST, 'more character')})"


def _as_text(value: Any) -> str:
    """Returns a value as text, a conversation with a line per message."""
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return "\n".join(f"{each.get('role')}: {each.get('content')}" for each in value)
    return str(value)

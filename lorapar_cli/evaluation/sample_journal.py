"""The journal of an evaluation: samples that a killed run wrote are not made again."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from lorapar_cli.evaluation.tasks.task import Item
from lorapar_cli.grading.grade import Grade
from lorapar_cli.names import Artifact
from lorapar_cli.store.records import Message, to_line

Key = tuple[str, str, int]


class Sample(TypedDict):
    """One line of samples.jsonl: a completion of an item, and its grade.

    Keys:
        model: The model's name, or `completions` where those are given.
        id: The item's.
        draw: Number of the completion among those of the item, from 0.
        prompt: As the item has it; the harness's own with `--backend lm-eval`.
        reference: What is correct, the first of several accepted answers.
        reference_answers: All of them, where there are several.
        extracted, correct, extracted_strict, correct_strict, failure, reason: As in `Grade`.
        system, steps, subject, group: The groups that the item is reported by.
        tokens: Length of the completion, in tokens of the model's tokenizer.
        finished: Whether the completion ended before the limit of tokens.
        scores: Log-likelihood of each choice, where choices are compared.
    """

    model: str
    id: str
    draw: int
    prompt: str | list[Message]
    completion: str
    reference: str
    reference_answers: NotRequired[list[str]]
    extracted: str | None
    correct: bool
    extracted_strict: NotRequired[str | None]
    correct_strict: NotRequired[bool]
    failure: NotRequired[str | None]
    reason: NotRequired[str]
    system: NotRequired[str]
    steps: NotRequired[str]
    subject: NotRequired[str]
    group: NotRequired[str]
    tokens: NotRequired[int]
    finished: NotRequired[bool]
    scores: NotRequired[list[float]]


def sample_key(sample: Sample) -> Key:
    """Returns what identifies a sample: model, item id and draw."""
    return sample["model"], sample["id"], sample["draw"]


class SampleJournal:
    """An append-only JSON Lines file of samples for each process, read back when a run resumes.

    Attributes:
        known: Every sample that any process had written when this was opened, and every one that
            this process has written since, by key.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self._folder = folder
        self._path = folder / (f"samples.{rank}.jsonl" if rank else Artifact.SAMPLES)
        self.known: dict[Key, Sample] = {}
        if self._path.exists():
            # A kill may have left half a line; the next one must not follow on it.
            os.truncate(self._path, self._read(self._path))
        self.read_others()

    def read_others(self) -> None:
        """Reads what the other processes have written."""
        for path in self._others():
            self._read(path)

    def remove_others(self) -> None:
        """Removes the other processes' files, once their samples are elsewhere."""
        for path in self._others():
            path.unlink()

    def _others(self) -> list[Path]:
        return [path for path in sorted(self._folder.glob("samples*.jsonl")) if path != self._path]

    def _read(self, path: Path) -> int:
        """Reads a file's whole lines into `known`; returns their number of bytes."""
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                sample = json.loads(line)
                key = sample_key(sample)
            except (ValueError, KeyError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            self.known[key] = sample
            whole += len(line)
        return whole

    def append(self, samples: Iterable[Sample]) -> None:
        """Adds samples; returns once they are on disk."""
        samples = list(samples)
        with open(self._path, "a", encoding="utf-8", newline="\n") as file:
            file.writelines(to_line(sample) for sample in samples)
            file.flush()
            os.fsync(file.fileno())
        self.known.update((sample_key(sample), sample) for sample in samples)


def describe_sample(name: str, item: Item, draw: int, completion: str, grade: Grade) -> Sample:
    """Returns the fields that every sample has, the grade's and the item's groups, in order."""
    own: dict[str, object] = {
        "model": name,
        "id": item.id,
        "draw": draw,
        "prompt": item.prompt,
        "completion": completion,
        "reference": item.reference,
    }
    if item.reference_answers:
        own["reference_answers"] = list(item.reference_answers)
    # Which groups an item has depends on its task.
    return cast("Sample", {**own, **grade, **item.groups})

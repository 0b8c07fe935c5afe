"""The journal of an evaluation: samples that a killed run wrote are not made again."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.tasks.task import Item
from lorapar_cli.grading.grade import Grade
from lorapar_cli.grading.sandbox.runner import Failure
from lorapar_cli.names import Artifact
from lorapar_cli.store.disk.regular_files import (
    UnreadableError,
    exists,
    open_regular,
    read_text,
    remove,
)
from lorapar_cli.store.records import Message, to_line
from lorapar_cli.store.resumable_folder import UNFINISHED_PREFIX

Key = tuple[str, str, int]


class Sample(TypedDict):
    """One line of samples.jsonl: a completion of an item, and its grade.

    Keys:
        model: The model's name, or `completions` where those are given.
        id: The item's.
        question: Digest of what is asked, the same whatever examples come before it.
        draw: Number of the completion among those of the item, from 0.
        prompt: As the item has it; the harness's own with `--backend lm-eval`.
        reference: What is correct, the first of several accepted answers.
        reference_answers: All of them, where there are several.
        extracted, correct, extracted_strict, correct_strict, correct_plain, reason, failure:
            As in `Grade`.
        system, steps, subject, group: The groups that the item is reported by.
        tokens: Length of the completion, in tokens of the model's tokenizer.
        finished: Whether the completion ended before the limit of tokens.
        scores: Log-likelihood of each choice, where choices are compared.
        task, metrics: Of lm-evaluation-harness, where its tasks are evaluated by name: metric and
            filter -> value. `correct` is None there if no metric says right or wrong.
    """

    model: str
    id: str
    question: NotRequired[str]
    draw: int
    prompt: str | list[Message]
    completion: str
    reference: str
    reference_answers: NotRequired[list[str]]
    extracted: str | None
    correct: bool
    extracted_strict: NotRequired[str | None]
    correct_strict: NotRequired[bool]
    correct_plain: NotRequired[bool]
    reason: NotRequired[str]
    failure: NotRequired[Failure | None]
    system: NotRequired[str]
    steps: NotRequired[str]
    subject: NotRequired[str]
    group: NotRequired[str]
    tokens: NotRequired[int]
    finished: NotRequired[bool]
    scores: NotRequired[list[float]]
    task: NotRequired[str]
    metrics: NotRequired[dict[str, float]]


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
        if exists(self._path):
            whole = self._read(self._path)
            if not self._path.is_file() or self._path.is_symlink():
                remove(self._path)
            else:
                # A kill may have left half a line; the next one must not follow on it.
                os.truncate(self._path, whole)
        if not _digests_of(self._path).is_file():
            remove(_digests_of(self._path))
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
        """Reads a file's lines up to the first damaged one into `known`; returns their bytes."""
        whole = 0
        try:
            written = set(read_text(_digests_of(path)).split())
            with open_regular(path, "rb") as file:
                for line in file:
                    if _digest(line) not in written:
                        break
                    sample = json.loads(line)
                    self.known[sample_key(sample)] = sample
                    whole += len(line)
        except UnreadableError:
            raise
        except LoraparError:
            return whole  # Not a file, or nothing to compare it with: as good as not there.
        return whole

    def append(self, samples: Iterable[Sample]) -> None:
        """Adds samples; returns once they are on disk."""
        samples = list(samples)
        lines = [to_line(sample).encode() for sample in samples]
        # First: a digest without its line does no harm. A kill may have left half a digest.
        digests = "".join(f"\n{_digest(line)}" for line in lines)
        _append(_digests_of(self._path), f"{digests}\n".encode())
        _append(self._path, b"".join(lines))
        self.known.update((sample_key(sample), sample) for sample in samples)


def _append(path: Path, content: bytes) -> None:
    with open(path, "ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _digests_of(path: Path) -> Path:
    """Returns the file with the sha256 of each line of a journal: damage must not become a result.

    It goes with the other files of an unfinished run.
    """
    return path.with_name(f"{UNFINISHED_PREFIX}-{path.stem}.txt")


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def describe_sample(name: str, item: Item, draw: int, completion: str, grade: Grade) -> Sample:
    """Returns the fields that every sample has, the grade's and the item's groups, in order."""
    own: dict[str, object] = {
        "model": name,
        "id": item.id,
        "question": item.digest,
        "draw": draw,
        "prompt": item.prompt,
        "completion": completion,
        "reference": item.reference,
    }
    if item.reference_answers:
        own["reference_answers"] = list(item.reference_answers)
    # Which groups an item has depends on its task.
    return cast("Sample", {**own, **grade, **item.groups})

"""Answers that a model writes once before a stage trains, journaled batch by batch.

Batches, and the random stream of each, depend on prompts and settings only: an interrupted run, or
one on more processes, gets the same answers up to the rounding of the device.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TypedDict

import torch
from transformers import PreTrainedTokenizerBase

from lorapar_cli.errors import LoraparError
from lorapar_cli.events import Advance
from lorapar_cli.models.adapter import load_adapter
from lorapar_cli.models.base_model import free_memory, pick_device
from lorapar_cli.models.generation import Decoding, decode_batch, end_tokens, plan_batches
from lorapar_cli.models.placement.loading import load_placed
from lorapar_cli.models.placement.placement import Placement
from lorapar_cli.models.rendering.tokenization import decode_text
from lorapar_cli.store.journal import Journal, digest_of
from lorapar_cli.training.jobs import Preparation


class Answer(TypedDict):
    """What a model wrote to a prompt.

    Keys:
        tokens: Its end of sequence included.
        finished: Whether it ended by itself.
        passed: Whether the judge of the questions let it pass; False without one.
    """

    completion: str
    tokens: list[int]
    finished: bool
    passed: bool


class _Batch(TypedDict):
    """A line of the journal: prompts `indices` of draw `draw`, answered together."""

    draw: int
    number: int
    indices: list[int]
    answers: list[Answer]
    seconds: float


@dataclass(frozen=True)
class Questions:
    """What is asked, and of which model.

    Attributes:
        name: Of the journal.
        task: What the progress display calls this.
        prompts: Token ids of each.
        room: Most tokens of prompt and answer together, None where there is no limit.
        draws: Answers to each prompt.
        adapter: Whether the model has the adapter that the stage starts from.
        judge: From indices of prompts, completions of each and whether these ended by themselves to
            whether they pass; None to judge nothing. What it depends on is part of `depends_on`.
        depends_on: What answers depend on besides model, prompts and decoding.
    """

    name: str
    task: str
    prompts: list[list[int]]
    decoding: Decoding
    room: int | None
    draws: int
    batch_size: int
    seed: int
    adapter: bool
    judge: Callable[[list[int], list[str], list[bool]], list[bool]] | None = None
    depends_on: str = ""


@dataclass(frozen=True)
class Sampled:
    """All answers to some questions.

    Attributes:
        answers: Of each prompt, one per draw.
        seconds: That their batches took, those of interrupted runs included.
        belongs_to: Digest of everything that they depend on.
    """

    answers: list[list[Answer]]
    seconds: float
    belongs_to: str

    @property
    def tokens(self) -> int:
        """Number of tokens of all answers."""
        return sum(len(answer["tokens"]) for own in self.answers for answer in own)


def sample_once(
    preparation: Preparation, tokenizer: PreTrainedTokenizerBase, questions: Questions
) -> Sampled:
    """Returns the answers to the questions; those that the journal has are not sampled again.

    Every process must call this.

    Raises:
        LoraparError: The engine divides the model, or a batch does not fit into memory.
    """
    processes = preparation.launch.processes
    belongs_to = digest_of(_dependencies(preparation, questions))
    journal: list[Journal] = []

    def read() -> list[_Batch]:
        journal.append(Journal(preparation.work, questions.name, belongs_to))
        return journal[0].lines

    done = {(line["draw"], line["number"]): line for line in processes.on_main(read)}
    plan = _plan(questions)
    left = [key for key in plan if key not in done]
    if left:
        _sample(preparation, tokenizer, questions, plan, left, done, journal)
        free_memory()
    answers: list[list[Answer]] = [[] for _ in questions.prompts]
    for key in sorted(plan):
        for index, answer in zip(done[key]["indices"], done[key]["answers"], strict=True):
            answers[index].append(answer)
    return Sampled(answers, sum(line["seconds"] for line in done.values()), belongs_to)


def _plan(questions: Questions) -> dict[tuple[int, int], list[int]]:
    """Returns draw and number of each batch -> the indices of its prompts."""
    batches = plan_batches([len(prompt) for prompt in questions.prompts], questions.batch_size)
    return {
        (draw, number): indices
        for draw in range(questions.draws)
        for number, indices in enumerate(batches)
    }


def _dependencies(preparation: Preparation, questions: Questions) -> dict[str, object]:
    """Returns everything that the answers depend on, as JSON takes it."""
    job = preparation.job
    options = job.options
    adapter = {name: job.manifest.inputs[name]["sha256"] for name in ("adapter", "adapter_config")}
    return {
        "base_model": job.base.to_manifest(),
        "adapter": adapter if questions.adapter else None,
        "prompts": questions.prompts,
        "decoding": asdict(questions.decoding),
        "room": questions.room,
        "draws": questions.draws,
        "batch_size": questions.batch_size,
        "seed": questions.seed,
        "dtype": options.dtype,
        "quantize": options.quantize,
        "device": pick_device().type,
        "depends_on": questions.depends_on,
    }


def _sample(
    preparation: Preparation,
    tokenizer: PreTrainedTokenizerBase,
    questions: Questions,
    plan: dict[tuple[int, int], list[int]],
    left: list[tuple[int, int]],
    done: dict[tuple[int, int], _Batch],
    journal: list[Journal],
) -> None:
    """Answers the batches that are left, one in each process at a time, and adds them to `done`.

    Args:
        journal: One in the process that writes, none in the others.
    """
    model, processes = _load_model(preparation, questions.adapter), preparation.launch.processes
    for first in range(0, len(left), processes.count):
        turn = list(enumerate(left[first : first + processes.count]))
        made = {
            place: _answer(model, tokenizer, questions, *key, plan[key])
            for place, key in processes.share(turn)
        }
        lines = list(processes.merge(made).values())
        for each in journal:
            each.append(lines)
        done |= {(line["draw"], line["number"]): line for line in lines}
        preparation.progress(Advance(questions.task, len(done), len(plan)))


def _load_model(preparation: Preparation, adapter: bool) -> torch.nn.Module:
    """Returns the base model, with the adapter that the stage starts from if asked.

    Raises:
        LoraparError: The engine divides models over processes.
    """
    job, engine = preparation.job, preparation.launch.engine
    if engine.sharded:
        raise LoraparError(
            f"a model cannot be sampled before training under {engine}",
            "`--replay-source self`, `--min-pass` and `--max-pass` ask a whole model",
            "omit them, or launch plain data parallel with `torchrun`",
        )
    options = job.options
    place = Placement(device_map=options.device_map is not None)
    model = load_placed(job.base, place, options.dtype, options.trust_remote_code, options.quantize)
    if adapter:
        model = load_adapter(model, job.start.folder, trainable=False)
    return model.eval()


def _answer(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    questions: Questions,
    draw: int,
    number: int,
    indices: list[int],
) -> _Batch:
    """Returns the journal's line of a batch."""
    started = time.monotonic()
    prompts = [questions.prompts[index] for index in indices]
    stream = f"{questions.seed} {questions.name} {draw} {number}"
    written = decode_batch(
        model,
        tokenizer,
        prompts,
        questions.decoding.within(questions.room, prompts),
        int.from_bytes(hashlib.sha256(stream.encode()).digest()[:7], "little"),
        memory_hint="give a smaller `--sample-batch-size`",
    )
    ends = end_tokens(model, tokenizer)
    texts = [decode_text(tokenizer, tokens, skip_special_tokens=True) for tokens in written]
    finished = [tokens[-1] in ends for tokens in written]
    passed = [False] * len(texts)
    if questions.judge is not None:
        passed = questions.judge(indices, texts, finished)
    answers: list[Answer] = [
        {"completion": text, "tokens": tokens, "finished": ended, "passed": good}
        for text, tokens, ended, good in zip(texts, written, finished, passed, strict=True)
    ]
    return {
        "draw": draw,
        "number": number,
        "indices": indices,
        "answers": answers,
        "seconds": round(time.monotonic() - started, 3),
    }

"""Measures models on the records of a comparison: losses, answers, forgetting."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import torch
from peft import PeftModel

from lorapar_cli.comparison.grid import Grid
from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.predict import Predictor, TransformersModel, prepare_prompts
from lorapar_cli.evaluation.tasks.load import load_task
from lorapar_cli.models.adapter import load_adapter
from lorapar_cli.models.base_model import BaseModel, find_base_model, load_base, load_tokenizer
from lorapar_cli.models.forgetting import kl_from_base, record_losses, text_loss, text_windows
from lorapar_cli.models.generation import Decoding, complete_batch, plan_batches
from lorapar_cli.models.rendering.chat_template import ChatTemplate, read_arguments
from lorapar_cli.models.rendering.encoding import Encoded, encode_records
from lorapar_cli.models.rendering.tokenization import encode_prompt
from lorapar_cli.names import Stage, System
from lorapar_cli.store.records import Record, read_records

MOST_KL_PROMPTS = 100


class Measured(TypedDict):
    """What was measured of one model on a file of records.

    Keys:
        losses: System -> mean cross-entropy of each record's completion, in nats per token, in the
            file's order.
        correct: System -> 1 or 0 for each of its records that has a reference answer.
    """

    losses: dict[str, list[float]]
    correct: dict[str, list[int]]


class Forgetting(TypedDict):
    """How far a model is from the base model.

    Keys:
        kl: KL(base || adapter) per token on the new task's prompts, in nats; absent of the base.
        neutral_loss: Mean cross-entropy of the neutral text, in nats per token.
    """

    kl: NotRequired[float]
    neutral_loss: float


@dataclass(frozen=True)
class RecordSet:
    """A file of records in the tokens of the base model.

    Attributes:
        systems: Of each record.
        encoded: Prompt and completion.
        predictor: Asks for the records that have a reference answer; None where none has.
        answered: System of each of the predictor's items.
        too_long: Number of records left out because they exceed the model's positions.
    """

    systems: list[System]
    encoded: list[Encoded]
    predictor: Predictor | None
    answered: list[System]
    too_long: int

    def losses(self, model: torch.nn.Module, pad_token_id: int) -> dict[str, list[float]]:
        """Returns system -> losses of its records."""
        found = record_losses(model, self.encoded, pad_token_id)
        return _by_system(self.systems, found)

    def answers(self, model: torch.nn.Module) -> dict[str, list[int]]:
        """Returns system -> whether each of its records is answered correctly, greedily."""
        if self.predictor is None:
            return {}
        correct = [0] * len(self.answered)
        completer = TransformersModel(model, self.predictor.tokenizer)
        for batch in self.predictor.batches:
            samples = self.predictor.predict("model", completer, batch)
            for index, sample in zip(batch.indices, samples, strict=True):
                correct[index] = int(sample["correct"])
        return _by_system(self.answered, correct)


def _by_system(systems: Sequence[System], values: Sequence[float]) -> dict[str, list]:
    found: dict[str, list] = {}
    for system, value in zip(systems, values, strict=True):
        found.setdefault(system.value, []).append(value)
    return found


class Bench:
    """What all models of a comparison are measured with; loads the base model for each of them.

    Attributes:
        validation, held_out: The records.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        base_id, _ = grid.run_dir.base_of_adapter(None)
        self._trust = grid.options.trust_remote_code
        self.base: BaseModel = find_base_model(base_id, self._trust)
        template = ChatTemplate(
            grid.run_dir.template(Stage.SCORE),
            read_arguments(grid.run_dir.template_arguments(Stage.SCORE)),
        )
        self._tokenizer = load_tokenizer(self.base, self._trust, template)
        self._dtype = grid.score_options(grid.cells[0]).dtype
        self.validation = self._record_set(grid.records.validation)
        self.held_out = self._record_set(grid.records.held_out)
        self._windows = text_windows(self._tokenizer, grid.neutral, self.base.max_length)

    @property
    def pad_token_id(self) -> int:
        """Token id of padding."""
        return int(cast(int, self._tokenizer.pad_token_id))

    def _record_set(self, path: Path) -> RecordSet:
        records = read_records(path)
        encoded = encode_records(self._tokenizer, records)
        limit = self.base.max_length
        kept = [n for n, item in enumerate(encoded) if not limit or len(item.input_ids) <= limit]
        if not kept:
            raise LoraparError(f"every record of `{path}` exceeds the model's {limit} positions")
        predictor = self._predictor(path, records)
        by_id = {record.id: _system(record) for record in records}
        asked = [] if predictor is None else [by_id[item.id] for item in predictor.task.items]
        return RecordSet(
            [_system(records[n]) for n in kept],
            [encoded[n] for n in kept],
            predictor,
            asked,
            len(records) - len(kept),
        )

    def _predictor(self, path: Path, records: Sequence[Record]) -> Predictor | None:
        options = self._grid.options
        asked = EvalOptions(
            data=str(path),
            match=options.match,
            max_new_tokens=options.max_new_tokens,
            batch_size=options.batch_size,
        )
        if options.match != "exact" and not any(record.accepted_answers for record in records):
            return None
        task = load_task(asked)
        return prepare_prompts(task, asked, self._tokenizer, self.base.max_length, None)

    def load(self, adapter: Path | None) -> torch.nn.Module:
        """Returns base model and adapter in evaluation mode."""
        loaded = load_base(self.base, self._dtype, self._trust)
        if adapter is None:
            return loaded
        return load_adapter(loaded, adapter, trainable=False).eval()

    def measure(self, model: torch.nn.Module) -> Measured:
        """Returns losses and answers on the held-out records."""
        return {
            "losses": self.held_out.losses(model, self.pad_token_id),
            "correct": self.held_out.answers(model),
        }

    def forgetting(self, model: torch.nn.Module, written: Sequence[Encoded]) -> Forgetting:
        """Returns how far an adapter is from its base model.

        Args:
            written: Of `base_completions`.
        """
        found: Forgetting = {"neutral_loss": text_loss(model, self._windows, self.pad_token_id)}
        if isinstance(model, PeftModel):
            divergences = kl_from_base(model, written, self.pad_token_id)
            found["kl"] = sum(divergences) / len(divergences)
        return found

    def base_completions(self, model: torch.nn.Module, system: System) -> list[Encoded]:
        """Returns held-out prompts of a system with what the base model writes at temperature 1.

        At most 100 prompts, the first ones. Where a completion was truncated, it has no end of
        sequence.
        """
        records = read_records(self._grid.records.held_out)
        chosen = [record for record in records if record.label is system][:MOST_KL_PROMPTS]
        prompts = [
            encode_prompt(self._tokenizer, record.prompt, record.tools, record.id)
            for record in chosen
        ]
        limit = self.base.max_length
        kept = [n for n, prompt in enumerate(prompts) if not limit or len(prompt) < limit]
        options = self._grid.options
        written: dict[int, Encoded] = {}
        batches = plan_batches([len(prompts[n]) for n in kept], options.batch_size)
        for number, batch in enumerate(batches):
            places = [kept[index] for index in batch]
            asked = [prompts[n] for n in places]
            decoding = Decoding(options.max_new_tokens, temperature=1.0).within(limit, asked)
            done = complete_batch(
                model, self._tokenizer, asked, decoding, seed=options.seed * 10_000 + number
            )
            for n, completion in zip(places, done, strict=True):
                tokens = self._tokenizer(completion.text, add_special_tokens=False)["input_ids"]
                ended = [self._tokenizer.eos_token_id] if completion.finished else []
                if tokens or ended:
                    written[n] = Encoded([*prompts[n], *tokens, *ended], len(prompts[n]))
        return [written[n] for n in sorted(written)]


def _system(record: Record) -> System:
    if record.label is None:
        raise AssertionError(f"record `{record.id}` has lost its system")
    return record.label

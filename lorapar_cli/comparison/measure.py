"""Measures models on the records of a comparison: losses, answers, forgetting."""

from collections.abc import Sequence
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import torch
from peft import PeftModel

from lorapar_cli.comparison.grid import Grid
from lorapar_cli.errors import LoraparError
from lorapar_cli.grading.latex import check_latex
from lorapar_cli.models.adapter import load_adapter
from lorapar_cli.models.base_model import BaseModel, find_base_model, load_base, load_tokenizer
from lorapar_cli.models.measuring.forgetting import kl_from_base, text_loss, text_windows
from lorapar_cli.models.measuring.records import Answering, RecordSet, encode_set
from lorapar_cli.models.measuring.written import MOST_KL_PROMPTS, base_completions
from lorapar_cli.models.rendering.chat_template import ChatTemplate, read_arguments
from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.models.rendering.tokenization import encode_prompt
from lorapar_cli.names import Stage, System
from lorapar_cli.store.records import Record, read_records


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
        records, options = read_records(path), self._grid.options
        if options.match == "latex":
            check_latex()
        answering = Answering(options.match, options.max_new_tokens, options.batch_size)
        found = encode_set(
            self._tokenizer,
            records,
            [_system(record).value for record in records],
            self.base.max_length,
            answering,
        )
        if not found.encoded:
            limit = self.base.max_length
            raise LoraparError(f"every record of `{path}` exceeds the model's {limit} positions")
        return found

    def load(self, adapter: Path | None) -> torch.nn.Module:
        """Returns base model and adapter in evaluation mode."""
        loaded = load_base(self.base, self._dtype, self._trust)
        if adapter is None:
            return loaded
        return load_adapter(loaded, adapter, trainable=False).eval()

    def measure(self, model: torch.nn.Module) -> Measured:
        """Returns losses and answers on the held-out records."""
        return {
            "losses": self.held_out.losses(model),
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
        options = self._grid.options
        return base_completions(
            model,
            self._tokenizer,
            prompts,
            max_length=self.base.max_length,
            max_new_tokens=options.max_new_tokens,
            batch_size=options.batch_size,
            seed=options.seed,
        )


def _system(record: Record) -> System:
    if record.label is None:
        raise AssertionError(f"record `{record.id}` has lost its system")
    return record.label

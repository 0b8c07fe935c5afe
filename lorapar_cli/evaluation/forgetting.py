"""What adapters have made the base model forget, measured beside their accuracy."""

import time
from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from lorapar_cli.data.formats import source_label
from lorapar_cli.errors import LoraparError
from lorapar_cli.evaluation.adapters import Models
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.predict import Predictor
from lorapar_cli.models.distributed import ALONE, Processes
from lorapar_cli.models.measuring.held_out import read_held_out
from lorapar_cli.models.measuring.probe import (
    MOST_RECORDS,
    ForgettingProbe,
    Prompts,
    at_rest,
    first_of_each,
)
from lorapar_cli.models.measuring.records import UNLABELLED, RecordSet, encode_set
from lorapar_cli.models.placement.placement import Placement
from lorapar_cli.stage_records.evaluation import EvalMetrics
from lorapar_cli.stage_records.forgetting import Forgetting
from lorapar_cli.store.records import Record
from lorapar_cli.store.run_dir import RunDir


class ForgettingOfModels:
    """Measures one model after the other, all of them on the same records, prompts and text.

    Args:
        probe: None where nothing is measured.
        compared: Whether there is an adapter to compare with the base model.

    Attributes:
        found: Model -> its figures.
        seconds: That measuring all of them took.
    """

    def __init__(self, probe: ForgettingProbe | None, compared: bool) -> None:
        self._probe, self._compared = probe, compared
        self.found: dict[str, Forgetting] = {}
        self.seconds = 0.0

    def measure(self, name: str, model: torch.nn.Module | None) -> None:
        """Measures a model with that name, if anything is measured; None is no model to measure."""
        if self._probe is None or model is None:
            return
        started = time.monotonic()
        with at_rest(model):
            if self._compared:
                self._probe.write(model)
            self.found[name] = self._probe.measure(model)
        self.seconds += time.monotonic() - started

    def add_to(self, metrics: EvalMetrics) -> None:
        """Adds the figures of each model to its row, and what they were measured on."""
        if self._probe is None or not self.found:
            return
        for row in metrics["models"]:
            row["forgetting"] = self.found[row["model"]]
        metrics["forgetting_basis"] = self._probe.basis()


def open_forgetting(
    run_dir: RunDir,
    predictor: Predictor,
    models: Models,
    options: EvalOptions,
    placement: Placement,
    processes: Processes,
    notes: list[str],
) -> ForgettingOfModels:
    """Returns what measures the models of an evaluation.

    Losses are those of the user's own records where these are evaluated, else of the records that
    the run holds out.

    Args:
        placement: Where the base model lies.
        processes: Each of them does its share, unless the base model is divided among them.
        notes: Where a sentence is added if something cannot be measured.
    """
    task, compared = predictor.task, any(folder is not None for folder in models.values())
    if not options.forgetting:
        return ForgettingOfModels(None, compared)
    if options.backend == "vllm":
        notes.append("forgetting is not measured: vLLM gives no losses of a text")
        return ForgettingOfModels(None, compared)
    records, sources = task.records, dict[str, str]()
    if not records and (held_out := read_held_out(run_dir)) is not None:
        records, sources = held_out.records, {"heldout": held_out.sha256}
    probe = ForgettingProbe(
        predictor.tokenizer,
        predictor.max_length,
        _encode(predictor.tokenizer, records, predictor.max_length, notes),
        Prompts(
            [item.groups.get("system", UNLABELLED) for item in task.items],
            predictor.prompts,
            options.max_new_tokens,
            options.batch_size,
            options.seed,
            "give a smaller `--batch-size`, or `--no-forgetting`",
        ),
        options.neutral,
        sources,
        # Processes that run every pass together cannot exchange anything else in between.
        processes if placement.processes is None else ALONE,
    )
    return ForgettingOfModels(probe, compared)


def _encode(
    tokenizer: PreTrainedTokenizerBase,
    records: Sequence[Record],
    max_length: int | None,
    notes: list[str],
) -> RecordSet | None:
    """Returns the first records of each system in tokens, None where there are none to measure."""
    systems = [str(r.label or source_label(r) or UNLABELLED) for r in records]
    kept = first_of_each(records, systems, MOST_RECORDS)
    try:
        found = encode_set(
            tokenizer, kept, first_of_each(systems, systems, MOST_RECORDS), max_length, None
        )
    except LoraparError as error:
        # Prompts can be asked that no completion can be rendered behind.
        notes.append(f"forgetting: losses of records are not measured: {error.what}")
        return None
    return found if found.encoded else None

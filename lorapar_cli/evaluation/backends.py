"""Has every model of an evaluation answer, one after the other, into the journal."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorapar_cli.evaluation.predict import Completer, LoadedModel, Predictor
from lorapar_cli.evaluation.sample_journal import SampleJournal
from lorapar_cli.events import Advance, Progress
from lorapar_cli.models.adapter import load_adapter
from lorapar_cli.models.base_model import BaseModel, load_base
from lorapar_cli.models.distributed import Processes


@dataclass
class Answering:
    """One evaluation's questions, and what it takes to have them answered.

    Attributes:
        dtype, trust: Of the base model, as `models.base_model.load_base` takes them.
        journal: Where samples go; what it knows is not asked again.
        processes: Each of them answers its share of the batches.
    """

    questions: Predictor
    base: BaseModel
    dtype: str
    trust: bool
    journal: SampleJournal
    processes: Processes
    progress: Progress

    def ask_all(self, models: dict[str, Path | None], backend: str) -> dict[str, float]:
        """Returns seconds by model.

        Args:
            models: Model name -> adapter folder, None for the base model.
            backend: `transformers`, `vllm` or `lm-eval`.
        """
        if backend == "vllm":
            return self._ask_vllm(models)
        return self._ask_transformers(models, through_harness=backend == "lm-eval")

    def _ask_transformers(
        self, models: dict[str, Path | None], through_harness: bool
    ) -> dict[str, float]:
        """Loads the base model once; adapters are put on it and taken off."""
        loaded, seconds = load_base(self.base, self.dtype, self.trust), {}
        for name, folder in models.items():
            started = time.monotonic()
            adapted = loaded
            if folder is not None:
                adapted = load_adapter(loaded, folder, trainable=False).eval()
            if through_harness:
                self._ask_harness(name, adapted)
            else:
                self._ask(name, LoadedModel(adapted, self.questions.tokenizer))
            if folder is not None:
                loaded = adapted.unload()
            seconds[name] = round(time.monotonic() - started, 3)
        return seconds

    def _ask_vllm(self, models: dict[str, Path | None]) -> dict[str, float]:
        from lorapar_cli.evaluation.vllm_backend import VllmEngine

        adapters = [folder for folder in models.values() if folder is not None]
        engine, seconds = VllmEngine(self.base, self.dtype, adapters, self.trust), {}
        for name, folder in models.items():
            started = time.monotonic()
            self._ask(name, engine.writer(folder))
            seconds[name] = round(time.monotonic() - started, 3)
        return seconds

    def _ask(self, name: str, writer: Completer) -> None:
        mine = self.processes.share(self.questions.batches)
        done, total = 0, sum(len(batch.places) for batch in mine)
        self.progress(Advance(f"eval {name}", 0, total))
        for batch in mine:
            items = [self.questions.task.items[place] for place in batch.places]
            # A batch is asked whole or not at all: its composition decides the rounding.
            if any((name, item.id, batch.draw) not in self.journal.known for item in items):
                self.journal.append(self.questions.ask(name, writer, batch))
            done += len(items)
            self.progress(Advance(f"eval {name}", done, total))

    def _ask_harness(self, name: str, model: Any) -> None:
        from lorapar_cli.evaluation.lm_eval_backend import ask_harness

        questions = self.questions
        items = questions.task.items
        if all((name, item.id, 0) in self.journal.known for item in items):
            return
        self.progress(Advance(f"eval {name}", 0, len(items)))
        self.journal.append(
            ask_harness(
                questions.task,
                name,
                model,
                questions.tokenizer,
                questions.batch_size,
                questions.decoding.max_new_tokens,
            )
        )
        self.progress(Advance(f"eval {name}", len(items), len(items)))

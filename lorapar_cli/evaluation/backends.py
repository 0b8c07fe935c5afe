"""Has every model of an evaluation complete every item, one model after the other."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from lorapar_cli.evaluation.adapters import Models
from lorapar_cli.evaluation.forgetting import ForgettingOfModels
from lorapar_cli.evaluation.options import Backend, EvalOptions
from lorapar_cli.evaluation.predict import Predictor, PromptBatch, TransformersModel
from lorapar_cli.evaluation.sample_journal import Sample, SampleJournal
from lorapar_cli.evaluation.tasks.task import Task
from lorapar_cli.events import Advance, Progress
from lorapar_cli.models.adapter import read_lora_config
from lorapar_cli.models.base_model import BaseModel, load_base
from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.peft_adapter import load_for_evaluation
from lorapar_cli.models.placement.loading import load_placed
from lorapar_cli.models.placement.placement import WHOLE, Placement
from lorapar_cli.models.placement.sharding import in_step

Predict = Callable[[PromptBatch], list[Sample]]
"""Returns one model's graded samples of a batch."""


def check_backend(backend: Backend, task: Task) -> None:
    """Checks that the backend is installed and can run the task.

    Raises:
        LoraparError, UsageError: It is not, or cannot.
    """
    if backend == "vllm":
        from lorapar_cli.evaluation.vllm_backend import check_vllm

        check_vllm(task)
    if backend == "lm-eval":
        from lorapar_cli.evaluation.lm_eval_backend import check_harness

        check_harness(task)


def predict_all(
    predictor: Predictor,
    models: Models,
    base: BaseModel,
    options: EvalOptions,
    placement: Placement,
    journal: SampleJournal,
    forgetting: ForgettingOfModels,
    processes: Processes,
    progress: Progress,
) -> dict[str, float]:
    """Returns seconds by model; samples go to the journal.

    Args:
        journal: Batches whose samples it has are skipped.
        forgetting: Measures each model once it has completed all items.
        processes: Each of them completes its share of the batches.
    """
    seconds = {}
    loaded = LOADERS[options.backend](predictor, models, base, options, placement)
    started = time.monotonic()
    for name, predict, model in loaded:
        batches = processes.share(predictor.batches)
        _predict_pending(name, predict, batches, predictor.task, journal, progress)
        seconds[name] = round(time.monotonic() - started, 3)
        forgetting.measure(name, model)
        started = time.monotonic()
    return seconds


def _predict_pending(
    name: str,
    predict: Predict,
    batches: Sequence[PromptBatch],
    task: Task,
    journal: SampleJournal,
    progress: Progress,
) -> None:
    done, total = 0, sum(len(batch.indices) for batch in batches)
    progress(Advance(f"eval {name}", 0, total))
    for batch in batches:
        keys = [(name, task.items[index].id, batch.draw) for index in batch.indices]
        # A batch is completed whole or not at all: its composition decides the rounding.
        if any(key not in journal.known for key in keys):
            journal.append(predict(batch))
        done += len(keys)
        progress(Advance(f"eval {name}", done, total))


Loaded = Iterator[tuple[str, Predict, torch.nn.Module | None]]
"""Name, what predicts, and the model itself where it is in this process."""


def _load_transformers(
    predictor: Predictor,
    models: Models,
    base: BaseModel,
    options: EvalOptions,
    placement: Placement,
) -> Loaded:
    """Loads the base model; adapters are put on it and taken off, one after the other."""
    if placement != WHOLE:
        _require_lora(models)
    loaded = load_placed(
        base, placement, options.dtype, options.trust_remote_code, attention=options.attention
    )

    def adapted() -> Loaded:
        # All models have the base model's weights to gather: processes need not wait for another
        # before each has completed its batches of the last model.
        with in_step(loaded):
            for name, model in adapt_models(loaded, models):
                completer = TransformersModel(model, predictor.tokenizer)
                yield name, partial(predictor.predict, name, completer), model

    return adapted()


def _load_harness(
    predictor: Predictor,
    models: Models,
    base: BaseModel,
    options: EvalOptions,
    _placement: Placement,
) -> Loaded:
    """As `_load_transformers`; the harness completes and grades."""
    from lorapar_cli.evaluation.lm_eval_backend import predict_with_harness

    _require_lora(models)

    def predict(name: str, model: torch.nn.Module, _: PromptBatch) -> list[Sample]:
        return predict_with_harness(
            predictor.task,
            name,
            model,
            predictor.tokenizer,
            options.batch_size,
            options.max_new_tokens,
        )

    loaded = load_base(base, options.dtype, options.trust_remote_code)
    return (
        (name, partial(predict, name, model), model) for name, model in adapt_models(loaded, models)
    )


def _load_vllm(
    predictor: Predictor,
    models: Models,
    base: BaseModel,
    options: EvalOptions,
    _placement: Placement,
) -> Loaded:
    from lorapar_cli.evaluation.vllm_backend import VllmEngine

    _require_lora(models)
    adapters = [folder for folder in models.values() if folder is not None]
    engine = VllmEngine(base, options.dtype, adapters, options.trust_remote_code)
    return (
        (name, partial(predictor.predict, name, engine.model(folder)), None)
        for name, folder in models.items()
    )


def _require_lora(models: Models) -> None:
    """Refuses adapters that a backend, or a divided model, would not apply."""
    for folder in models.values():
        if folder is not None:
            read_lora_config(folder)


def adapt_models(model: torch.nn.Module, models: Models) -> Iterator[tuple[str, torch.nn.Module]]:
    """Yields each name with the base model and its adapter, which stays on until the next name."""
    for name, folder in models.items():
        if folder is None:
            yield name, model
            continue
        adapted = load_for_evaluation(model, folder)
        yield name, adapted
        model = adapted.unload()


Load = Callable[[Predictor, Models, BaseModel, EvalOptions, Placement], Loaded]

LOADERS: dict[Backend, Load] = {
    "transformers": _load_transformers,
    "vllm": _load_vllm,
    "lm-eval": _load_harness,
}

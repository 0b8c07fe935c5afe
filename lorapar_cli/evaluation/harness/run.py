"""`eval --backend lm-eval` with tasks of the harness by name: its own data, prompts and metrics."""

import contextlib
import hashlib
import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.adapters import Models, adapter_files, check_base, choose_models
from lorapar_cli.evaluation.harness.tasks import (
    HarnessTasks,
    never_show_the_question,
    require_harness,
)
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.sample_journal import Sample
from lorapar_cli.evaluation.settings import accuracy_of, describe_settings
from lorapar_cli.events import Advance, Progress
from lorapar_cli.launcher import world_size
from lorapar_cli.models.base_model import BaseModel
from lorapar_cli.names import SCHEMA_VERSION, Artifact, Stage
from lorapar_cli.stage_records.evaluation import (
    EvalRecord,
    HarnessMetric,
    HarnessRow,
    HarnessTask,
)
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.store.records import write_jsonl
from lorapar_cli.store.resumable_folder import finish_working_folder, open_working_folder
from lorapar_cli.store.reuse import describe_inputs, reuse
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.working import working_in

HARNESS = "harness"
"""`match` of these evaluations: the task's own metrics."""
# For metrics whose standard error has no closed form.
_BOOTSTRAP = 1_000
# Metrics by which a single answer is right or wrong.
_RIGHT_OR_WRONG = ("exact_match", "acc", "em")


@dataclass(frozen=True)
class _Result:
    rows: list[HarnessTask]
    samples: list[Sample]


def evaluate_harness_tasks(
    run_dir: RunDir,
    folder: Path,
    options: EvalOptions,
    given: Sequence[str],
    progress: Progress,
) -> Outcome:
    """Writes the folder of an evaluation on tasks that the harness brings or the user's folder has.

    Raises:
        LoraparError, UsageError: The harness is missing, a task is unknown or cannot be loaded, or
            there are no models.
    """
    from lorapar_cli.evaluation.backends import adapt_models
    from lorapar_cli.models.base_model import find_base_model, load_base, load_tokenizer

    require_harness()
    if world_size() > 1:
        raise UsageError("`--backend lm-eval` runs in one process")
    models = choose_models(run_dir, options.adapter)
    base_id, revision = run_dir.base_of_adapter(options.model)
    base = find_base_model(base_id, options.trust_remote_code)
    check_base(run_dir, models, base, revision)
    with _quiet():
        tasks = HarnessTasks(options.harness_tasks, options.lm_eval_include)
        manifest = _start_manifest(options, given, models, base, tasks)
    if (done := reuse(folder, manifest.settings, manifest.inputs, kind=EvalOptions)) is not None:
        return done
    tokenizer = load_tokenizer(base, options.trust_remote_code)
    with working_in(folder):
        work = open_working_folder(folder, manifest, True, kind=EvalOptions)
        results, seconds = {}, {}
        if options.forgetting:
            manifest.notes.append(
                "forgetting is not measured on tasks that lm-evaluation-harness runs by itself"
            )
        loaded = load_base(base, options.dtype, options.trust_remote_code)
        for name, model in adapt_models(loaded, models):
            progress(Advance(f"eval {name}", 0, len(tasks.tasks)))
            started = time.monotonic()
            results[name] = _run(name, model, tokenizer, tasks, options, manifest)
            seconds[name] = round(time.monotonic() - started, 3)
            progress(Advance(f"eval {name}", len(tasks.tasks), len(tasks.tasks)))
        return Outcome(folder, _finish(work, folder, manifest, options, results, seconds))


def _start_manifest(
    options: EvalOptions,
    given: Sequence[str],
    models: Models,
    base: BaseModel,
    tasks: HarnessTasks,
) -> Manifest:
    resolved = {
        "style": "harness",
        "match": HARNESS,
        # Unless the user says so, the task decides.
        "max_new_tokens": options.max_new_tokens if "max_new_tokens" in given else None,
    }
    manifest = Manifest(
        stage=Stage.EVAL,
        settings=options.settings(**resolved)
        | {
            "sandbox": None,
            "models": list(models),
            "base_model": base.to_manifest(),
            "backend": options.backend,
            "batch_size": options.batch_size,
            "template": None,
            "template_arg": [],
            "dtype": options.dtype,
            "trust_remote_code": options.trust_remote_code,
        },
        given=list(given),
        inputs=tasks.describe() | describe_inputs(adapter_files(models)),
        seed=options.seed,
    )
    manifest.base_model = base.to_manifest()
    return manifest


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what the harness prints from stdout, and keeps it from the network for its metrics."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    os.environ.setdefault("HF_EVALUATE_OFFLINE", "1")
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _run(
    name: str,
    model: Any,
    tokenizer: Any,
    tasks: HarnessTasks,
    options: EvalOptions,
    manifest: Manifest,
) -> _Result:
    """Returns what the harness finds of one model."""
    from lorapar_cli.models.base_model import transformers_model

    with _quiet():
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM

        loaded = tasks.load()
        for each, task in loaded["tasks"].items():
            never_show_the_question(each, task)
        tokens = manifest.settings["max_new_tokens"]
        found = simple_evaluate(
            model=HFLM(
                pretrained=transformers_model(model),
                tokenizer=tokenizer,
                batch_size=options.batch_size,
            ),
            tasks=[*loaded["groups"].values(), *_ungrouped(loaded)],
            num_fewshot=options.num_fewshot,
            limit=options.limit,
            log_samples=True,
            bootstrap_iters=_BOOTSTRAP,
            gen_kwargs=None if tokens is None else f"max_gen_toks={tokens}",
            fewshot_random_seed=1234,
        )
    if found is None:
        raise LoraparError("lm-evaluation-harness returned nothing")
    rows = [_read_metrics(task, found) for task in found["results"]]
    samples = [
        sample
        for task, logged in found["samples"].items()
        for sample in _read_samples(name, task, logged)
    ]
    return _Result(rows, samples)


def _ungrouped(loaded: dict[str, Any]) -> list[Any]:
    grouped = {
        task.task_name for group in loaded["groups"].values() for task in group.get_all_tasks()
    }
    return [task for name, task in loaded["tasks"].items() if name not in grouped]


def _read_metrics(task: str, found: dict[str, Any]) -> HarnessTask:
    """Returns a task's or group's own metrics, with their names."""
    values: dict[str, Any] = found["results"][task]
    better = found.get("higher_is_better", {}).get(task, {})
    metrics: list[HarnessMetric] = []
    for key, value in values.items():
        metric, comma, kind = key.partition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        metrics.append(
            {
                "metric": metric,
                "filter": kind,
                "value": _number(value),
                "stderr": _number(values.get(f"{metric}_stderr,{kind}")),
                "higher_is_better": better.get(metric),
            }
        )
    return {
        "task": task,
        "is_group": task not in found["samples"],
        "version": _text(found.get("versions", {}).get(task)),
        "num_fewshot": found.get("n-shot", {}).get(task),
        "n": len({each["doc_id"] for each in found["samples"].get(task, [])})
        or int(values.get("sample_len", 0)),
        "metrics": metrics,
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any) -> float | None:
    """Returns a finite number as float; the harness writes `N/A` where it has none."""
    if hasattr(value, "item"):
        value = value.item()
    if not isinstance(value, bool | int | float) or not math.isfinite(value):
        return None
    return float(value)


def _read_samples(name: str, task: str, logged: Sequence[dict[str, Any]]) -> list[Sample]:
    """Returns a sample per question, graded by the first of the task's filters."""
    by_doc: dict[int, list[dict[str, Any]]] = {}
    for each in logged:
        by_doc.setdefault(each["doc_id"], []).append(each)
    return [_read_sample(name, task, by_doc[number]) for number in sorted(by_doc)]


def _read_sample(name: str, task: str, by_filter: list[dict[str, Any]]) -> Sample:
    first = by_filter[0]
    question = json.dumps(first["doc"], sort_keys=True, default=str)
    metrics = {
        f"{metric},{each['filter']}": number
        for each in by_filter
        for metric in each["metrics"]
        if (number := _number(each.get(metric))) is not None
    }
    graded = [_number(first.get(metric)) for metric in _RIGHT_OR_WRONG if metric in first]
    responses = [response[0] for response in first["resps"]]
    is_text = isinstance(responses[0], str)
    sample: dict[str, Any] = {
        "model": name,
        "id": f"{task}/{first['doc_id']}",
        "question": hashlib.sha256(question.encode()).hexdigest()[:16],
        "draw": 0,
        "prompt": str(first["arguments"][0][0]),
        "completion": responses[0] if is_text else "",
        "reference": str(first["target"]),
        "extracted": str(first["filtered_resps"][0]) if is_text else None,
        # Of some metrics, a single answer is neither.
        "correct": bool(graded[0]) if graded and graded[0] in (0, 1) else None,
        "metrics": metrics,
        "task": task,
    }
    if not is_text and len(responses) > 1 and isinstance(responses[0], tuple | list):
        scores = [float(response[0]) for response in responses]
        best = scores.index(max(scores))
        choices = [str(arguments[1]).strip() for arguments in first["arguments"][: len(scores)]]
        sample["extracted"] = choices[best]
        if isinstance(first["target"], int) and 0 <= first["target"] < len(choices):
            sample["reference"] = choices[first["target"]]
        sample["scores"] = [round(score, 6) for score in scores]
    return cast("Sample", sample)


def _finish(
    work: Path,
    folder: Path,
    manifest: Manifest,
    options: EvalOptions,
    results: dict[str, _Result],
    seconds: dict[str, float],
) -> Manifest:
    samples = [sample for result in results.values() for sample in result.samples]
    write_jsonl(work / Artifact.SAMPLES, samples)
    rows: list[HarnessRow] = [
        {"model": name, "tasks": result.rows} for name, result in results.items()
    ]
    record = EvalRecord(
        {
            "items": len(samples) // max(1, len(results)),
            "without_reference": 0,
            "tokens": {},
        },
        {"seconds": seconds, "models": [], "pairs": [], "harness": rows},
    )
    with atomic_file(work / Artifact.RESULTS) as file:
        head = {
            "schema": SCHEMA_VERSION,
            "task": options.task,
            "match": HARNESS,
            "accuracy_of": accuracy_of(manifest.settings),
            "settings": describe_settings(manifest),
        }
        body = {**record.counts, "models": [], "pairs": [], "harness": rows}
        json.dump({**head, **body}, file, indent=2, ensure_ascii=False)
        file.write("\n")
    manifest.keep(record)
    return finish_working_folder(work, folder, manifest)

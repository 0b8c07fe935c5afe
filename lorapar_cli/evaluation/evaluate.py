"""`eval`: accuracy of the base model and of every adapter, with intervals, tests and samples."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation.adapters import (
    Models,
    adapter_files,
    check_base,
    choose_models,
    unfinished_adapters,
)
from lorapar_cli.evaluation.evaluation_run import EvaluationRun, finish_run, start_manifest
from lorapar_cli.evaluation.given_completions import GIVEN, grade_completions, read_completions
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.sample_journal import SampleJournal
from lorapar_cli.evaluation.tasks.load import load_task
from lorapar_cli.evaluation.tasks.task import Task
from lorapar_cli.events import Note, Progress, silent
from lorapar_cli.grading.sandbox.packages import find_packages
from lorapar_cli.grading.sandbox.runner import Limits, Sandbox, find_backend
from lorapar_cli.launcher import world_size
from lorapar_cli.libraries import MODELS, require_libraries
from lorapar_cli.models.rendering.chat_template import ChatTemplate, read_arguments
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.store.manifest import Manifest, Outcome
from lorapar_cli.store.resumable_folder import open_working_folder
from lorapar_cli.store.reuse import describe_inputs, reuse
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.working import working_in

if TYPE_CHECKING:
    from lorapar_cli.models.base_model import BaseModel


def evaluate(
    run_dir: RunDir,
    options: EvalOptions,
    *,
    given: Sequence[str] = (),
    progress: Progress = silent,
) -> Outcome:
    """Writes `eval/<name>/`: results.json, samples.jsonl and the manifest.

    Args:
        given: Names of the options that the user gave, as opposed to defaults.

    Raises:
        LoraparError, UsageError: There are no items or no models, or they do not belong together;
            nothing has been written then.
    """
    folder = run_dir.folder(Stage.EVAL) / _folder_name(options)
    if options.completions is None:
        require_libraries(MODELS, "`lorapar eval`")
    if options.harness_tasks:
        from lorapar_cli.evaluation.harness.run import evaluate_harness_tasks

        return evaluate_harness_tasks(run_dir, folder, options, given, progress)
    if options.task == "data" and options.data is None:
        options = replace(options, data=str(_held_out(run_dir)))
    task = load_task(options)
    run = EvaluationRun(folder, task, options, _find_sandbox(task, options))
    if options.completions is not None:
        return _evaluate_completions(run, options.completions, given, progress)
    return _evaluate_models(run, run_dir, given, progress)


def _evaluate_models(
    run: EvaluationRun, run_dir: RunDir, given: Sequence[str], progress: Progress
) -> Outcome:
    """Has every model complete every item, and grades the completions."""
    from lorapar_cli.evaluation.backends import check_backend, predict_all
    from lorapar_cli.evaluation.forgetting import open_forgetting
    from lorapar_cli.evaluation.predict import prepare_prompts
    from lorapar_cli.models.base_model import find_base_model, load_tokenizer
    from lorapar_cli.models.distributed import join_processes
    from lorapar_cli.models.placement.placement import find_placement

    options, trust = run.options, run.options.trust_remote_code
    check_backend(options.backend, run.task)
    models = choose_models(run_dir, options.adapter)
    for stage in unfinished_adapters(run_dir, models):
        folder = run_dir.folder(stage)
        progress(Note(f"`{folder}` is unfinished: its adapter is not evaluated"))
    base_id, revision = run_dir.base_of_adapter(options.model)
    base = find_base_model(base_id, trust)
    check_base(run_dir, models, base, revision)
    # Adapters get prompts as they were trained on.
    template = ChatTemplate(
        run_dir.template(), read_arguments(options.template_arg or run_dir.template_arguments())
    )
    settings = _model_settings(options, models, base, template)
    manifest = start_manifest(
        run, given, settings, describe_inputs(adapter_files(models) | _neutral(options))
    )
    manifest.base_model = base.to_manifest()
    if (done := _find_result(run, manifest)) is not None:
        return done
    processes = join_processes()
    if processes.count > 1 and options.backend != "transformers":
        raise UsageError(
            f"`--backend {options.backend}` runs in one process, not {processes.count}"
        )
    placement = find_placement(options.shard, options.device_map, None, processes, manifest.notes)
    tokenizer = load_tokenizer(base, trust, template, manifest.notes)
    predictor = prepare_prompts(run.task, options, tokenizer, base.max_length, run.sandbox)
    with working_in(run.folder):
        work = processes.on_main(lambda: _open_work(run, manifest))
        journal = SampleJournal(work, processes.rank)
        # Only the first of several processes reports progress.
        shown = progress if processes.rank == 0 else silent
        forgetting = open_forgetting(
            run_dir, predictor, models, options, placement, processes, manifest.notes
        )
        seconds = predict_all(
            predictor, models, base, options, placement, journal, forgetting, processes, shown
        )
        processes.wait()

        def finish() -> Manifest:
            journal.read_others()
            return finish_run(
                *(run, work, manifest, journal, seconds, predictor.truncated),
                *(forgetting.add_to, forgetting.seconds),
            )

        return Outcome(run.folder, processes.on_main(finish))


def _find_result(run: EvaluationRun, manifest: Manifest) -> Outcome | None:
    return reuse(run.folder, manifest.settings, manifest.inputs, kind=EvalOptions)


def _open_work(run: EvaluationRun, manifest: Manifest) -> Path:
    return open_working_folder(run.folder, manifest, overwrite=True, kind=EvalOptions)


def _model_settings(
    options: EvalOptions, models: Models, base: "BaseModel", template: ChatTemplate
) -> dict[str, Any]:
    """Returns what decides a result besides the task's settings."""
    return {
        "models": list(models),
        "base_model": base.to_manifest(),
        "backend": options.backend,
        "batch_size": options.batch_size,
        "template": template.text,
        "template_arg": template.given,
        "dtype": options.dtype,
        "attention": options.attention,
        "trust_remote_code": options.trust_remote_code,
    }


def _neutral(options: EvalOptions) -> dict[str, Path]:
    """Returns the user's own neutral text by its name among inputs, if it is read."""
    return {"neutral": options.neutral} if options.forgetting and options.neutral else {}


def _evaluate_completions(
    run: EvaluationRun, path: Path, given: Sequence[str], progress: Progress
) -> Outcome:
    """Grades the completions of a file; loads no model."""
    if run.task.match == "likelihood":
        raise UsageError("`--task mmlu` compares likelihoods and takes no `--completions`")
    if world_size() > 1:
        raise UsageError("`--completions` are graded in one process, on all of its cores")
    completions = read_completions(path, run.task, run.options.k)
    inputs = describe_inputs({"completions": path})
    manifest = start_manifest(run, given, {"models": [GIVEN]}, inputs)
    if (done := _find_result(run, manifest)) is not None:
        return done
    with working_in(run.folder):
        work = _open_work(run, manifest)
        journal = SampleJournal(work)
        if run.options.forgetting:
            manifest.notes.append("forgetting is not measured: no model is run")
        grade_completions(run.task, completions, run.sandbox, journal, progress)
        return Outcome(run.folder, finish_run(run, work, manifest, journal))


def _find_sandbox(task: Task, options: EvalOptions) -> Sandbox | None:
    """Returns how a task's programs are run, None for a task that runs none."""
    if task.match != "code":
        return None
    if not options.allow_code_execution and not options.unsafe_code_execution:
        raise UsageError(
            f"`--task {task.name}` runs code that a model wrote",
            hint="allow it, in a sandbox, with `--allow-code-execution`",
        )
    return Sandbox(
        find_backend(options.unsafe_code_execution),
        Limits(options.code_timeout, options.code_memory),
        find_packages(options.code_packages),
    )


def _held_out(run_dir: RunDir) -> Path:
    path = run_dir.folder(Stage.CLASSIFY) / Artifact.HELD_OUT
    if not path.is_file() or path.stat().st_size == 0:
        raise LoraparError(
            "nothing to evaluate on",
            f"`{path}` {'is empty' if path.is_file() else 'does not exist'}",
            "name records with `--data`, or run `lorapar classify` with `--holdout`",
        )
    return path


def _folder_name(options: EvalOptions) -> str:
    if options.name is not None:
        return options.name
    if options.task != "data":
        return re.sub(r"[^\w.-]+", "+", options.task).strip(".")
    # A name that begins with a dot would be hidden among the results.
    return "heldout" if options.data is None else Path(options.data).stem.strip(".") or "data"

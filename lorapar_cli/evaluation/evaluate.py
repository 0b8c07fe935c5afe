"""`eval`: accuracy of the base model and of every adapter, with intervals, tests and samples."""

from pathlib import Path

from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.evaluation.adapters import choose_models
from lorapar_cli.evaluation.evaluation_run import EvaluationRun
from lorapar_cli.evaluation.options import Drawing
from lorapar_cli.evaluation.tasks.load import load_task
from lorapar_cli.evaluation.tasks.task import Task, TaskOptions
from lorapar_cli.events import Progress, silent
from lorapar_cli.grading.sandbox.runner import find_backend
from lorapar_cli.names import Stage
from lorapar_cli.store.manifest import (
    Outcome,
)
from lorapar_cli.store.run_dir import RunDir

BACKENDS = ("transformers", "vllm", "lm-eval")


def evaluate(
    run_dir: RunDir,
    *,
    task: str = "data",
    data: str | None = None,
    fewshot_data: str | None = None,
    num_fewshot: int | None = None,
    style: str = "trained",
    match: str = "answer",
    completions: Path | None = None,
    name: str | None = None,
    adapter: list[str] | None = None,
    model: str | None = None,
    drawing: Drawing | None = None,
    backend: str = "transformers",
    batch_size: int = 64,
    limit: int | None = None,
    dtype: str = "auto",
    allow_code_execution: bool = False,
    unsafe_code_execution: bool = False,
    trust_remote_code: bool = False,
    given: list[str] | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Writes `eval/<name>/`: results.json, samples.jsonl and the manifest.

    Args:
        task: `data` (own records), `gsm8k`, `mmlu` or `humaneval`.
        data: The task's file or hub id; by default the records that `classify` held out, or the
            published data set.
        fewshot_data, num_fewshot, style, match: See `evaluation.tasks.load`.
        completions: Judge these completions, written elsewhere, instead of asking a model.
        name: The result's folder; by default `heldout`, the data file's stem or the task's name.
        adapter: `base`, `sft`, `rl` or `NAME=FOLDER` each; by default all that the run has.
        backend: `transformers`, `vllm`, or `lm-eval` to ask through the harness.
        limit: Ask the first so many records only.
        allow_code_execution: Needed where a task runs what a model wrote.

    Raises:
        LoraparError, UsageError: Nothing to ask or to evaluate, or the pieces do not belong
            together; nothing has been written then.
    """

    drawing = drawing or Drawing()
    if completions is None:
        drawing.check()
    source = str(_heldout(run_dir)) if task == "data" and data is None else data
    asked = TaskOptions(task, source, fewshot_data, num_fewshot, style, match, limit)
    folder = run_dir.folder(Stage.EVAL) / _folder_name(name, data, task)
    loaded = load_task(asked)
    sandbox = _sandbox(loaded, allow_code_execution, unsafe_code_execution)
    run = EvaluationRun(folder, asked, loaded, drawing, sandbox, given or [], progress)
    if completions is not None:
        return run.judge_file(completions)
    _check_backend(backend, loaded, drawing)
    models = choose_models(run_dir, adapter)
    return run.ask(run_dir, models, model, backend, batch_size, dtype, trust_remote_code)


def _check_backend(backend: str, task: "Task", drawing: Drawing) -> None:
    if backend not in BACKENDS:
        raise UsageError(
            f"`--backend` knows no `{backend}`{nearest(backend, list(BACKENDS))}",
            hint=f"known: {', '.join(BACKENDS)}",
        )
    if backend == "vllm":
        from lorapar_cli.evaluation.vllm_backend import check_vllm

        check_vllm(task)
    if backend == "lm-eval":
        from lorapar_cli.evaluation.lm_eval_backend import check_harness

        check_harness(task)
        if drawing.temperature > 0:
            raise UsageError("`--backend lm-eval` is greedy", hint="leave `--temperature` out")


def _sandbox(task: "Task", allowed: bool, unsafe: bool) -> str | None:
    """Returns the sandbox's backend for a task that runs code, None for the others."""
    if task.match != "code":
        return None
    if not allowed and not unsafe:
        raise UsageError(
            f"`--task {task.name}` runs code that a model wrote",
            hint="allow it, in a sandbox, with `--allow-code-execution`",
        )

    return find_backend(unsafe)


def _heldout(run_dir: RunDir) -> Path:
    heldout = run_dir.folder(Stage.CLASSIFY) / "heldout.jsonl"
    if not heldout.is_file() or heldout.stat().st_size == 0:
        raise LoraparError(
            "nothing to evaluate on",
            f"`{heldout}` {'is empty' if heldout.is_file() else 'does not exist'}",
            "name records with `--data`, or run `lorapar classify` with `--holdout`",
        )
    return heldout


def _folder_name(name: str | None, data: str | None, task: str) -> str:
    if name is None:
        by_task = {"data": "heldout" if data is None else Path(data).stem}
        return by_task.get(task, task)
    if Path(name).name != name or name.startswith("."):
        raise UsageError(f"`--name` is not a plain folder name: `{name}`")
    return name

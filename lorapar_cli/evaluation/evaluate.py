"""`eval`: accuracy of the base model and of every adapter, with intervals, tests and samples."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.evaluation.metrics import summarize_samples
from lorapar_cli.evaluation.sample_journal import SAMPLES, Sample, SampleJournal
from lorapar_cli.names import SCHEMA_VERSION, Progress, Stage, silent
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.manifest import (
    Manifest,
    Outcome,
    describe_inputs,
    is_up_to_date,
    read_manifest,
)
from lorapar_cli.store.records import write_jsonl
from lorapar_cli.store.resumable_folder import finish_working_folder, open_working_folder
from lorapar_cli.store.run_dir import RunDir

if TYPE_CHECKING:
    from lorapar_cli.evaluation.predict import Questions
    from lorapar_cli.evaluation.tasks.load import Asked, Task
    from lorapar_cli.models.adapter import BaseModel

BASE = "base"
TRAINED = {"sft": Stage.TRAIN_SFT, "rl": Stage.TRAIN_RL}
WRITTEN_ELSEWHERE = "completions"
BACKENDS = ("transformers", "vllm", "lm-eval")

Models = dict[str, Path | None]
"""Model name -> adapter folder, None for the base model."""


@dataclass(frozen=True)
class Drawing:
    """How completions are drawn; field names are option names.

    Attributes:
        max_new_tokens: Tokens after which a completion is cut.
        samples: Completions of each item.
        temperature: 0 for the likeliest token.
        top_p: Smallest set of tokens with this probability that is drawn from.
        k: For pass@k and maj@k of several samples.
        seed: Decides what is drawn above temperature 0.
    """

    max_new_tokens: int = 256
    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    k: tuple[int, ...] = (1,)
    seed: int = 0

    def check(self) -> None:
        """Raises UsageError where the values contradict each other."""
        if self.samples > 1 and self.temperature == 0:
            raise UsageError(
                f"`--samples {self.samples}` would draw the same completion every time",
                "`--temperature` is 0",
                "give a temperature above 0, for instance 0.8",
            )
        if max(self.k) > self.samples:
            raise UsageError(
                f"`--k {max(self.k)}` needs as many samples of each item",
                f"`--samples` is {self.samples}",
            )


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
    from lorapar_cli.evaluation.tasks.load import Asked, load_task

    drawing = drawing or Drawing()
    if completions is None:
        drawing.check()
    source = str(_heldout(run_dir)) if task == "data" and data is None else data
    asked = Asked(task, source, fewshot_data, num_fewshot, style, match, limit)
    folder = run_dir.folder(Stage.EVAL) / _folder_name(name, data, task)
    loaded = load_task(asked)
    sandbox = _sandbox(loaded, allow_code_execution, unsafe_code_execution)
    run = _Run(folder, asked, loaded, drawing, sandbox, given or [], progress)
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
    from lorapar_cli.grading.sandbox.runner import find_backend

    return find_backend(unsafe)


@dataclass
class _Run:
    """One evaluation: the same for models that are asked and for completions that are given."""

    folder: Path
    asked: "Asked"
    task: "Task"
    drawing: Drawing
    sandbox: str | None
    given: list[str]
    progress: Progress

    def ask(
        self,
        run_dir: RunDir,
        models: Models,
        model: str | None,
        backend: str,
        batch_size: int,
        dtype: str,
        trust_remote_code: bool,
    ) -> Outcome:
        """Asks every model every item."""
        from lorapar_cli.evaluation.backends import Answering
        from lorapar_cli.models.adapter import find_base_model
        from lorapar_cli.models.distributed import join_processes

        base_id, revision = run_dir.base_of_adapter(model)
        base = find_base_model(base_id, trust_remote_code)
        _check_base(run_dir, models, base, revision)
        own = {
            "models": list(models),
            "base_model": base.to_manifest(),
            "backend": backend,
            "batch_size": batch_size,
            # Adapters are asked as they were trained.
            "template": run_dir.template(),
            "dtype": dtype,
            "trust_remote_code": trust_remote_code,
        }
        manifest = self._manifest(own, describe_inputs(_adapter_files(models)))
        manifest.base_model = base.to_manifest()
        if is_up_to_date(self.folder, manifest.settings, manifest.inputs):
            return Outcome(self.folder, read_manifest(self.folder), fresh=False)
        processes = join_processes()
        if processes.count > 1 and backend != "transformers":
            raise UsageError(f"`--backend {backend}` runs in one process, not {processes.count}")
        questions = self._questions(base, batch_size, trust_remote_code, own["template"])
        work = processes.on_main(lambda: open_working_folder(self.folder, manifest, overwrite=True))
        journal = SampleJournal(work, processes.rank)
        # Of several processes the first one's progress stands for all.
        show = self.progress if processes.rank == 0 else silent
        answering = Answering(questions, base, dtype, trust_remote_code, journal, processes, show)
        seconds = answering.ask_all(models, backend)
        processes.wait()

        def finish() -> Manifest:
            journal.read_others()
            manifest.metrics["seconds"] = seconds
            manifest.counts["cut_prompts"] = questions.cut
            return self._finish(work, manifest, journal, list(models))

        return Outcome(self.folder, processes.on_main(finish))

    def _questions(
        self, base: "BaseModel", batch_size: int, trust: bool, template: str | None
    ) -> "Questions":
        from lorapar_cli.evaluation.predict import Questions
        from lorapar_cli.models.adapter import load_tokenizer
        from lorapar_cli.models.generation import Decoding

        drawing = self.drawing
        return Questions(
            self.task,
            load_tokenizer(base, trust, template),
            Decoding(
                drawing.max_new_tokens, drawing.temperature, drawing.top_p, list(self.task.stop)
            ),
            batch_size=batch_size,
            draws=drawing.samples,
            seed=drawing.seed,
            longest=base.max_length,
            sandbox=self.sandbox,
        )

    def judge_file(self, path: Path) -> Outcome:
        """Judges completions that were written elsewhere; loads no model."""
        from lorapar_cli.evaluation.tasks.load import read_completions
        from lorapar_cli.grading.grade import describe_sample, judge

        if self.task.match == "likelihood":
            raise UsageError("`--task mmlu` compares likelihoods and takes no `--completions`")
        if os.environ.get("WORLD_SIZE", "1") != "1":
            raise UsageError("`--completions` are judged in one process, on all of its cores")
        written = read_completions(path, self.task)
        fewest = min(written.items(), key=lambda pair: len(pair[1]))
        if max(self.drawing.k) > len(fewest[1]):
            raise UsageError(
                f"`--k {max(self.drawing.k)}` needs as many completions of each item",
                f"`{fewest[0]}` has {len(fewest[1])} in `{path}`",
            )
        manifest = self._manifest(
            {"models": [WRITTEN_ELSEWHERE]}, describe_inputs({"completions": path})
        )
        if is_up_to_date(self.folder, manifest.settings, manifest.inputs):
            return Outcome(self.folder, read_manifest(self.folder), fresh=False)
        work = open_working_folder(self.folder, manifest, overwrite=True)
        journal = SampleJournal(work)
        pairs = [
            (item, draw, text)
            for item in self.task.items
            for draw, text in enumerate(written[item.id])
            if (WRITTEN_ELSEWHERE, item.id, draw) not in journal.known
        ]
        chunk = 64
        for start in range(0, len(pairs), chunk):
            part = pairs[start : start + chunk]
            verdicts = judge(
                self.task.match, [one[0] for one in part], [one[2] for one in part], self.sandbox
            )
            journal.append(
                describe_sample(WRITTEN_ELSEWHERE, item, draw, text, verdict)
                for (item, draw, text), verdict in zip(part, verdicts, strict=True)
            )
            self.progress("judge completions", start + len(part), len(pairs))
        return Outcome(self.folder, self._finish(work, manifest, journal, [WRITTEN_ELSEWHERE]))

    def _manifest(self, own: dict[str, Any], inputs: dict[str, dict[str, str]]) -> Manifest:
        settings = asdict(self.asked) | asdict(self.drawing) | {"sandbox": self.sandbox} | own
        # Where data lies is not what it is: inputs are compared by content.
        settings.pop("data")
        settings.pop("fewshot_data")
        return Manifest(
            stage=Stage.EVAL,
            settings=settings,
            given=self.given,
            inputs=self.task.inputs | inputs,
            seed=self.drawing.seed,
        )

    def _finish(
        self, work: Path, manifest: Manifest, journal: SampleJournal, models: list[str]
    ) -> Manifest:
        """Writes samples and results, and publishes the folder."""
        samples = _in_order(self.task, models, journal)
        write_jsonl(work / SAMPLES, (line for lines in samples.values() for line in lines))
        journal.remove_others()
        groups = [item.groups for item in self.task.items]
        results = summarize_samples(self.task.match, samples, groups, self.drawing.k)
        manifest.metrics |= results
        manifest.counts |= {
            "items": len(self.task.items),
            "without_reference": self.task.without_reference,
            "tokens": {
                name: sum(line.get("tokens", 0) for line in samples[name]) for name in models
            },
        }
        manifest.notes = self._notes(manifest)
        with atomic_file(work / "results.json") as file:
            head = {"schema": SCHEMA_VERSION, "task": self.task.name, "match": self.task.match}
            json.dump(head | manifest.counts | results, file, indent=2, ensure_ascii=False)
            file.write("\n")
        return finish_working_folder(work, self.folder, manifest)

    def _notes(self, manifest: Manifest) -> list[str]:
        notes, items = [], len(self.task.items)
        if self.task.without_reference:
            notes.append(
                f"{self.task.without_reference:,} records have no reference answer and are left "
                "out of every figure"
            )
        if cut := manifest.counts.get("cut_prompts"):
            notes.append(f"{cut:,} prompts were cut from the left to fit the model")
        notes += [
            f"{entry['cut']:,} of {entry['completions']:,} completions of `{entry['model']}` were "
            f"cut at {self.drawing.max_new_tokens} tokens"
            for entry in manifest.metrics["models"]
            if entry["cut"] > entry["completions"] / 100
        ]
        if self.sandbox == "none":
            notes.append(f"the programs of {items:,} items ran without a sandbox")
        return notes


def _in_order(task: "Task", models: list[str], journal: SampleJournal) -> dict[str, list[Sample]]:
    """Returns each model's samples in the order of the items, draws of one item together."""
    found: dict[tuple[str, str], list[Sample]] = {}
    for (name, item, _), sample in sorted(journal.known.items(), key=lambda pair: pair[0][2]):
        found.setdefault((name, item), []).append(sample)
    return {name: [s for item in task.items for s in found[name, item.id]] for name in models}


def choose_models(run_dir: RunDir, adapter: list[str] | None) -> Models:
    """Returns model name -> adapter folder (None for the base model), the base model first.

    Raises:
        LoraparError, UsageError: A name is unknown, or its adapter is not there.
    """
    if adapter is None:
        found = [name for name, stage in TRAINED.items() if run_dir.manifest(stage) is not None]
        adapter = [BASE, *found]
    models: Models = {}
    for entry in adapter:
        name, equals, path = entry.partition("=")
        if equals and (not name or name == BASE):
            raise UsageError(f"`--adapter {entry}` needs a name of its own before `=`")
        if equals:
            models[name] = Path(path)
        elif name == BASE:
            models = {BASE: None} | models
        elif name in TRAINED:
            models[name] = run_dir.require(TRAINED[name], "adapter", "--adapter") / "adapter"
        else:
            raise UsageError(
                f"unknown adapter `{name}`{nearest(name, [BASE, *TRAINED])}",
                hint=f"known: {BASE}, {', '.join(TRAINED)}, or give a folder: `NAME=FOLDER`",
            )
    return models


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


def _check_base(run_dir: RunDir, models: Models, base: "BaseModel", known: str | None) -> None:
    """Checks that the run's adapters were trained on this very base model."""
    trained = {
        name: run_dir.manifest(stage)
        for name, stage in TRAINED.items()
        if models.get(name) == run_dir.folder(stage) / "adapter"
    }
    on_others = {
        name: manifest.base_model
        for name, manifest in trained.items()
        if manifest is not None
        and manifest.base_model is not None
        and manifest.base_model != base.to_manifest()
    }
    if on_others or known not in (None, base.revision):
        name, other = next(iter(on_others.items()), (BASE, {"id": base.id, "revision": known}))
        raise LoraparError(
            f"model `{name}` does not belong to this base model",
            f"made on `{other['id']}` ({other['revision']}), this is `{base.id}` ({base.revision})",
            "name the base model it was made on with `--model`, or train again",
        )


def _adapter_files(models: Models) -> dict[str, Path]:
    """Returns the files that decide what the adapters are, for `describe_inputs`."""
    from lorapar_cli.models.adapter import read_adapter_config

    files = {}
    for name, folder in models.items():
        if folder is not None:
            read_adapter_config(folder)
            files[f"{name}/config"] = folder / "adapter_config.json"
            files[f"{name}/weights"] = folder / "adapter_model.safetensors"
    return files

"""`eval`: greedy accuracy of the base model and of every adapter, with intervals and samples."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorapar_cli.core.answers import answers_match, extract_answer
from lorapar_cli.core.comparison import compare_models, summarize_model
from lorapar_cli.errors import LoraparError, UsageError, nearest
from lorapar_cli.names import SCHEMA_VERSION, Progress, Stage, silent
from lorapar_cli.store.manifest import (
    Manifest,
    Outcome,
    describe_inputs,
    is_up_to_date,
    read_manifest,
)
from lorapar_cli.store.publish import atomic_file
from lorapar_cli.store.records import write_jsonl
from lorapar_cli.store.rundir import RunDir
from lorapar_cli.store.samples import Sample, SampleJournal
from lorapar_cli.store.working import finish_working_folder, open_working_folder

if TYPE_CHECKING:
    from lorapar_cli.hub.generation import Completion, Decoding
    from lorapar_cli.hub.models import BaseModel
    from lorapar_cli.hub.tasks import Item, Task

BASE = "base"
TRAINED = {"sft": Stage.TRAIN_SFT, "rl": Stage.TRAIN_RL}
# The journal until every item is answered; then the same lines in the items' order.
_SAMPLES = "samples.jsonl"


def evaluate(
    run_dir: RunDir,
    *,
    data: str | None = None,
    name: str | None = None,
    adapter: list[str] | None = None,
    model: str | None = None,
    max_new_tokens: int = 256,
    batch_size: int = 64,
    limit: int | None = None,
    dtype: str = "auto",
    seed: int = 0,
    trust_remote_code: bool = False,
    given: list[str] | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Writes `eval/<name>/`: results.json, samples.jsonl and the manifest.

    Args:
        data: Records to ask; by default those that `classify` held out.
        name: The result's folder; by default `heldout` or the data file's stem.
        adapter: `base`, `sft`, `rl` or `NAME=FOLDER` each; by default all that the run has.
        max_new_tokens: Tokens after which a completion is cut.
        limit: Ask the first so many records only.

    Raises:
        LoraparError, UsageError: Nothing to ask or to evaluate, or the pieces do not belong
            together; nothing has been written then.
    """
    from lorapar_cli.hub.models import find_base_model
    from lorapar_cli.hub.tasks import own_task

    models = choose_models(run_dir, adapter)
    source = data or str(_heldout(run_dir))
    folder = run_dir.folder(Stage.EVAL) / _folder_name(name, data)
    task = own_task(source, limit)
    base_id, revision = run_dir.base_of_adapter(model)
    base = find_base_model(base_id, trust_remote_code)
    _check_base(run_dir, models, base, revision)
    settings = {
        "task": "data",
        "models": list(models),
        "base_model": base.to_manifest(),
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
        "limit": limit,
        "dtype": dtype,
        "seed": seed,
        "trust_remote_code": trust_remote_code,
    }
    inputs = task.inputs | describe_inputs(_adapter_files(models))
    if is_up_to_date(folder, settings, inputs):
        return Outcome(folder, read_manifest(folder), fresh=False)

    from lorapar_cli.hub.generation import Decoding
    from lorapar_cli.hub.models import load_base, load_tokenizer

    manifest = Manifest(
        stage=Stage.EVAL,
        settings=settings,
        given=given or [],
        inputs=inputs,
        base_model=base.to_manifest(),
        seed=seed,
    )
    tokenizer = load_tokenizer(base, trust_remote_code)
    prompts = _encode(tokenizer, task, base.max_length)
    loaded = load_base(base, dtype, trust_remote_code)
    work = open_working_folder(folder, manifest, overwrite=True)
    journal = SampleJournal(work / _SAMPLES)
    asked = _Asked(task.items, prompts, tokenizer, Decoding(max_new_tokens), batch_size)
    manifest.metrics["seconds"] = _ask_models(asked, models, loaded, journal, progress)
    _summarize(work, manifest, task, list(models), journal)
    return Outcome(folder, finish_working_folder(work, folder, manifest))


def choose_models(run_dir: RunDir, adapter: list[str] | None) -> dict[str, Path | None]:
    """Returns model name -> adapter folder (None for the base model), the base model first.

    Raises:
        LoraparError, UsageError: A name is unknown, or its adapter is not there.
    """
    if adapter is None:
        found = [name for name, stage in TRAINED.items() if run_dir.manifest(stage) is not None]
        adapter = [BASE, *found]
    models: dict[str, Path | None] = {}
    for entry in adapter:
        name, equals, path = entry.partition("=")
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


def _folder_name(name: str | None, data: str | None) -> str:
    if name is None:
        return "heldout" if data is None else Path(data).stem
    if Path(name).name != name or name.startswith("."):
        raise UsageError(f"`--name` is not a plain folder name: `{name}`")
    return name


def _check_base(
    run_dir: RunDir, models: dict[str, Path | None], base: "BaseModel", known: str | None
) -> None:
    """Checks that the run's adapters were trained on this very base model."""
    trained = {name: run_dir.manifest(TRAINED[name]) for name in models if name in TRAINED}
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


def _adapter_files(models: dict[str, Path | None]) -> dict[str, Path]:
    """Returns the files that decide what the adapters are, for `describe_inputs`."""
    from lorapar_cli.hub.models import read_adapter_config

    files = {}
    for name, folder in models.items():
        if folder is not None:
            read_adapter_config(folder)
            files[f"{name}/config"] = folder / "adapter_config.json"
            files[f"{name}/weights"] = folder / "adapter_model.safetensors"
    return files


def _encode(tokenizer, task: "Task", longest: int | None) -> list[list[int]]:
    """Returns each item's prompt tokens; one that fills the model's positions is an error."""
    from lorapar_cli.hub.prompts import encode_prompt

    prompts = [encode_prompt(tokenizer, item.prompt) for item in task.items]
    for item, prompt in zip(task.items, prompts, strict=True):
        if longest is not None and len(prompt) >= longest:
            raise LoraparError(
                f"the prompt of `{item.id}` leaves no room for an answer",
                f"{len(prompt):,} tokens, the model reaches {longest:,}",
                "leave the record out, or give another model",
            )
    return prompts


@dataclass(frozen=True)
class _Asked:
    """Everything that is the same for each model."""

    items: list["Item"]
    prompts: list[list[int]]
    tokenizer: Any
    decoding: "Decoding"
    batch_size: int


def _ask_models(
    asked: _Asked,
    models: dict[str, Path | None],
    loaded,
    journal: SampleJournal,
    progress: Progress,
) -> dict[str, float]:
    """Answers every item with every model into the journal; returns seconds by model."""
    from lorapar_cli.hub.models import load_adapter

    seconds = {}
    for name, folder in models.items():
        started = time.monotonic()
        if folder is None:
            _ask(asked, name, loaded, journal, progress)
        else:
            adapted = load_adapter(loaded, folder, trainable=False).eval()
            _ask(asked, name, adapted, journal, progress)
            loaded = adapted.unload()
        seconds[name] = round(time.monotonic() - started, 3)
    return seconds


def _ask(asked: _Asked, name: str, model, journal: SampleJournal, progress: Progress) -> None:
    from lorapar_cli.hub.generation import complete_batch, plan_batches

    label, done = f"eval {name}", 0
    progress(label, 0, len(asked.items))
    for batch in plan_batches([len(prompt) for prompt in asked.prompts], asked.batch_size):
        items = [asked.items[place] for place in batch]
        # A batch is asked whole or not at all: its composition decides the rounding.
        if any((name, item.id, 0) not in journal.known for item in items):
            prompts = [asked.prompts[place] for place in batch]
            written = complete_batch(model, asked.tokenizer, prompts, asked.decoding)
            journal.append(
                _judge(name, item, completion)
                for item, completion in zip(items, written, strict=True)
            )
        done += len(batch)
        progress(label, done, len(asked.items))


def _judge(name: str, item: "Item", completion: "Completion") -> Sample:
    """Returns the sample's line, with the answer found in it and the verdict."""
    found = extract_answer(completion.text)
    return {
        "model": name,
        "id": item.id,
        "prompt": item.prompt,
        "completion": completion.text,
        "extracted": found,
        "reference": item.reference,
        "correct": answers_match(found, item.reference),
        "tokens": completion.tokens,
        "finished": completion.finished,
        **item.groups,
    }


def _summarize(
    work: Path, manifest: Manifest, task: "Task", models: list[str], journal: SampleJournal
) -> None:
    """Writes samples.jsonl and results.json; fills the manifest's counts, metrics and notes."""
    samples = {name: [journal.known[name, item.id, 0] for item in task.items] for name in models}
    write_jsonl(work / _SAMPLES, (line for lines in samples.values() for line in lines))
    verdicts = {name: [line["correct"] for line in lines] for name, lines in samples.items()}
    groups = [item.groups for item in task.items]
    cut = {name: sum(not line["finished"] for line in samples[name]) for name in models}
    results = {
        "models": [
            summarize_model(name, verdicts[name], groups) | {"cut": cut[name]} for name in models
        ],
        "pairs": compare_models(verdicts, groups),
    }
    manifest.metrics |= results
    manifest.counts = {
        "items": len(task.items),
        "without_reference": task.without_reference,
        "tokens": {name: sum(line["tokens"] for line in samples[name]) for name in models},
    }
    manifest.notes = _notes(task, cut, manifest.settings["max_new_tokens"])
    with atomic_file(work / "results.json") as file:
        own = {"schema": SCHEMA_VERSION, **manifest.counts}
        json.dump(own | results, file, indent=2, ensure_ascii=False)
        file.write("\n")


def _notes(task: "Task", cut: dict[str, int], max_new_tokens: int) -> list[str]:
    notes = []
    if task.without_reference:
        notes.append(
            f"{task.without_reference:,} records have no reference answer and are left out of "
            "every figure"
        )
    notes += [
        f"{count:,} of {len(task.items):,} completions of `{name}` were cut at "
        f"{max_new_tokens} tokens"
        for name, count in cut.items()
        if count > len(task.items) / 100
    ]
    return notes

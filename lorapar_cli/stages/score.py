"""`score`: creates the adapter and computes the importance of its elements for both systems."""

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Progress, Stage, System, silent
from lorapar_cli.store.manifest import (
    Manifest,
    Outcome,
    describe_inputs,
    is_up_to_date,
    read_manifest,
    write_manifest,
)
from lorapar_cli.store.publish import new_folder
from lorapar_cli.store.records import Record, read_records
from lorapar_cli.store.rundir import RunDir
from lorapar_cli.store.tensors import write_tensors

IMPORTANCE = "importance.safetensors"


def score(
    run_dir: RunDir,
    *,
    model: str | None,
    splits: Path | None,
    out: Path | None,
    samples: int,
    target_modules: list[str],
    r: int,
    lora_alpha: int,
    init: str,
    max_length: int,
    batch_tokens: int,
    dtype: str,
    seed: int,
    trust_remote_code: bool = False,
    given: list[str] | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Writes `importance.safetensors` and the adapter that was scored.

    Args:
        model: Base model; None for the one that the run directory remembers.
        splits: Folder with system1.jsonl and system2.jsonl; None for the run's own.
        out: Stage folder; None for the run's own.
        samples: At most so many records a system, chosen by seed.
        init: PEFT's `init_lora_weights`.
        max_length: Tokens; longer records are left out, never cut.
        batch_tokens: Tokens of a batch, padding included; 0 for the longest record's.
        dtype: Of the base model: `auto`, `float32`, `bfloat16`, `float16`.

    Raises:
        UsageError: No base model is known.
        LoraparError: A split is missing or empty, or every importance is zero.

    Source: LoRA-PAR Sec. 3, importance of LoRA elements.
    """
    name = model or run_dir.base_model()
    if name is None:
        raise UsageError(
            "no base model",
            f"neither `--model` nor run directory `{run_dir.root}` names one",
            "name the student with `--model`: a folder, a hub id, or `embedded`",
        )
    if Path(name).is_dir():
        name = str(Path(name).resolve())
    folder = splits or run_dir.require(Stage.CLASSIFY, "labelled splits", "--splits")
    paths = {system.value: folder / f"{system.value}.jsonl" for system in System}
    inputs = describe_inputs(paths)
    target = out or run_dir.folder(Stage.SCORE)
    settings = {
        "model": name,
        "samples": samples,
        "target_modules": sorted(target_modules),
        "r": r,
        "lora_alpha": lora_alpha,
        "init": init,
        "max_length": max_length,
        "batch_tokens": batch_tokens,
        "dtype": dtype,
        "seed": seed,
    }
    if is_up_to_date(target, settings, inputs):
        return Outcome(target, read_manifest(target), fresh=False)
    manifest = Manifest(Stage.SCORE, settings, given or [], inputs, seed=seed)
    records = {system: _choose(paths[system.value], samples, seed) for system in System}

    from lorapar_cli.hub import models

    base = models.find_base_model(name, trust_remote_code)
    manifest.base_model = base.to_manifest()
    progress("loading the base model", 0, None)
    tokenizer = models.load_tokenizer(base, trust_remote_code)
    encoded = {
        system: _encode(tokenizer, chosen, base, max_length, manifest, system)
        for system, chosen in records.items()
    }
    loaded = models.load_base(base, dtype, trust_remote_code)
    adapted = models.create_adapter(
        loaded, r=r, lora_alpha=lora_alpha, target_modules=target_modules, init=init, seed=seed
    ).eval()
    manifest.layout_fingerprint = models.model_fingerprint(adapted)
    tensors = {}
    for system, found in encoded.items():
        scored = _score_system(
            adapted, tokenizer.pad_token_id, found, batch_tokens, progress, system
        )
        tensors |= {f"{system}/{key}": values for key, values in scored.importance.items()}
        manifest.metrics[f"loss_{system}"] = scored.mean_loss
        manifest.metrics[f"seconds_{system}"] = scored.seconds
    _refuse_zero(tensors, init)
    manifest.counts |= {
        "elements": sum(values.size for values in tensors.values()) // len(System),
        "matrices": len(tensors) // len(System),
        "samples": {system.value: len(found) for system, found in encoded.items()},
    }
    with new_folder(target) as built:
        header = {
            "formula": "taylor2",
            "samples": manifest.counts["samples"],
            "fingerprint": manifest.layout_fingerprint,
        }
        write_tensors(built / IMPORTANCE, tensors, header)
        models.save_adapter(adapted, built / "adapter")
        write_manifest(built, manifest)
    return Outcome(target, manifest)


def _choose(path: Path, samples: int, seed: int) -> list[Record]:
    """Returns at most `samples` records of a split in its order, chosen by seed."""
    records = read_records(path)
    if not records:
        raise LoraparError(
            f"`{path}` has no records",
            hint="both systems need some: look at `lorapar classify`'s label counts",
        )
    if len(records) <= samples:
        return records
    chosen = sorted(random.Random(seed).sample(range(len(records)), samples))
    return [records[index] for index in chosen]


def _encode(tokenizer, records, base, max_length, manifest: Manifest, system: System) -> list:
    """Returns the records' tokens without those that are too long, which are counted."""
    from lorapar_cli.hub.prompts import encode

    limit = min(max_length, base.max_length or max_length)
    encoded = [encode(tokenizer, record) for record in records]
    kept = [sample for sample in encoded if len(sample.input_ids) <= limit]
    skipped = len(encoded) - len(kept)
    manifest.counts.setdefault("too_long", {})[system.value] = skipped
    if not kept:
        raise LoraparError(
            f"every record of {system} is longer than {limit} tokens",
            hint="raise `--max-length`, as far as the model's own limit allows",
        )
    if skipped:
        manifest.notes.append(
            f"{skipped} of {len(encoded)} {system} records have more than {limit} tokens "
            "and were left out"
        )
    return kept


@dataclass
class _Scored:
    importance: dict[str, Any]
    mean_loss: float
    seconds: float


def _score_system(adapted, pad_token_id, samples, batch_tokens, progress, system) -> _Scored:
    import torch

    from lorapar_cli.core.importance import GradientSums, compute_importance
    from lorapar_cli.hub.gradients import capture_gradients, make_batch, sample_losses
    from lorapar_cli.hub.models import adapter_parameters

    started = time.monotonic()
    values = adapter_parameters(adapted)
    device = next(iter(values.values())).device
    sums = GradientSums({key: value.numel() for key, value in values.items()}, device)
    done, total_loss = 0, 0.0
    membership = torch.empty(0)
    with capture_gradients(adapted, lambda key, g: sums.add(key, g, membership)):
        for batch_indices in _batches(samples, batch_tokens):
            batch = make_batch([samples[i] for i in batch_indices], pad_token_id, device)
            halves = torch.tensor([i % 2 for i in batch_indices], device=device)
            membership = torch.stack([halves == 0, halves == 1]).float()
            losses = sample_losses(adapted, batch)
            losses.sum().backward()
            total_loss += losses.double().sum().item()
            for half in range(2):
                sums.samples[half] += int((halves == half).sum())
            done += len(batch_indices)
            progress(f"scoring {system}", done, len(samples))
    importance = compute_importance(values, sums, "taylor2")
    return _Scored(
        {key: tensor.numpy() for key, tensor in importance.items()},
        total_loss / done,
        time.monotonic() - started,
    )


def _batches(samples, batch_tokens: int) -> list[list[int]]:
    """Returns batches of sample indices, longest first, each within the tokens allowed."""
    order = sorted(range(len(samples)), key=lambda i: (-len(samples[i].input_ids), i))
    limit = batch_tokens or len(samples[order[0]].input_ids)
    batches: list[list[int]] = []
    for index in order:
        longest = len(samples[batches[-1][0]].input_ids) if batches else 0
        if batches and longest * (len(batches[-1]) + 1) <= limit:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _refuse_zero(tensors, init: str) -> None:
    for system in System:
        if not any(values.any() for key, values in tensors.items() if key.startswith(system)):
            raise LoraparError(
                f"the importance of every element is zero for {system}",
                f"init `{init}` starts with B = 0 (or A = 0), where gradient times value "
                "vanishes in both matrices",
                "use `--init orthogonal`, which starts from the same function with A and B "
                "non-zero",
            )

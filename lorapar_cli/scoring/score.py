"""`score`: creates the adapter and computes the importance of its elements for both systems."""

import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models.weights_digest import local_revision
from lorapar_cli.names import EMBEDDED, TARGET_MODULES, Progress, Stage, System, silent
from lorapar_cli.scoring.partial import partial_folder
from lorapar_cli.store.atomic import new_folder
from lorapar_cli.store.manifest import (
    Manifest,
    Outcome,
    describe_inputs,
    is_up_to_date,
    read_manifest,
    write_manifest,
)
from lorapar_cli.store.records import Record, read_records
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.tensor_files import layout_fingerprint, write_tensors

IMPORTANCE = "importance.safetensors"
NOISE_THETA = 0.9
_PROBED = 8


@dataclass(frozen=True)
class ScoreOptions:
    """Settings of `score`.

    Attributes:
        samples: At most so many records a system, chosen by seed.
        init: One of `models.lora_inits.INITS`.
        init_scale: Standard deviation of `gaussian` for A and B; None for PEFT's, where B = 0.
        formula: A key of `elements.importance.FORMULAS`.
        max_length: Tokens; longer records are left out, never cut.
        batch_tokens: Tokens of a batch, padding included; 0 for the longest record's (CPU) or
            4,096 (GPU).
        packing: Whether a batch is one row of samples end to end, without padding.
        dtype: Of the base model: `auto`, `float32`, `bfloat16`, `float16`.
        quantize: `4bit` or `8bit` base weights; None for none.
        template: Jinja text of a chat template in place of the model's own.

    Source: LoRA-PAR, experimental settings (r, lora_alpha, target modules, length).
    """

    samples: int = 400
    target_modules: tuple[str, ...] = TARGET_MODULES
    r: int = 8
    lora_alpha: int = 64
    init: str = "orthogonal"
    init_scale: float | None = None
    formula: str = "taylor2"
    max_length: int = 512
    batch_tokens: int = 0
    packing: bool = False
    dtype: str = "auto"
    quantize: str | None = None
    template: str | None = None
    seed: int = 0


def score(
    run_dir: RunDir,
    options: ScoreOptions,
    *,
    model: str | None = None,
    splits: Path | None = None,
    out: Path | None = None,
    trust_remote_code: bool = False,
    save_seconds: float = 60,
    given: list[str] | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Writes `importance.safetensors` and the adapter that was scored.

    Args:
        model: Base model; None for the one that the run directory remembers.
        splits: Folder with system1.jsonl and system2.jsonl; None for the run's own.
        out: Stage folder; None for the run's own.
        save_seconds: Time between two copies of the sums, from which an interrupted run goes on.

    Raises:
        UsageError: No base model is known, or init and formula make all importance zero.
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
    if name != EMBEDDED and Path(name).is_dir():
        name = str(Path(name).resolve())
    folder = splits or run_dir.require(Stage.CLASSIFY, "labelled splits", "--splits")
    paths = {system.value: folder / f"{system}.jsonl" for system in System}
    inputs = describe_inputs(paths)
    target = run_dir.target(Stage.SCORE, out)
    options = replace(options, target_modules=tuple(sorted(options.target_modules)))
    settings = {"model": name} | asdict(options)
    if is_up_to_date(target, settings, inputs):
        finished = read_manifest(target)
        # The weights of a folder may have changed under the same name.
        if local_revision(name) in (None, finished.base_model["revision"]):
            return Outcome(target, finished, fresh=False)
    records = {system: _read(paths[system.value]) for system in System}
    manifest = Manifest(Stage.SCORE, settings, given or [], inputs, seed=options.seed)
    work = _Work(target, options, manifest, progress, save_seconds)
    work.find(name, trust_remote_code)
    samples = {system: work.encode(system, records[system]) for system in System}
    work.create(samples)
    tensors: dict[str, Any] = {}
    halves = []
    for system in System:
        importance, half_sets = work.score_system(system, samples[system])
        tensors |= {f"{system}/{key}": values.numpy() for key, values in importance.items()}
        halves.append(half_sets)
    work.describe_noise(halves)
    work.publish(tensors)
    return Outcome(target, manifest)


def _read(path: Path) -> list[Record]:
    records = read_records(path)
    if not records:
        raise LoraparError(
            f"`{path}` has no records",
            hint="both systems need some: look at `lorapar classify`'s label counts",
        )
    return records


class _Work:
    """What the steps of one scoring run share."""

    def __init__(
        self,
        target: Path,
        options: ScoreOptions,
        manifest: Manifest,
        progress: Progress,
        save_seconds: float,
    ) -> None:
        from lorapar_cli.models.distributed import join_processes
        from lorapar_cli.models.lora_inits import changes_base, check_init

        check_init(options.init, options.init_scale, options.formula, options.quantize)
        self.raw_rank = options.r if changes_base(options.init) else None
        self.target, self.options, self.manifest = target, options, manifest
        self.processes = join_processes()
        self.progress = progress if self.processes.rank == 0 else silent
        self.save_seconds = save_seconds
        self.partial = partial_folder(target)

    def find(self, name: str, trust_remote_code: bool) -> None:
        """Finds the base model and loads its tokenizer."""
        from lorapar_cli.models import adapter as models

        self.base = models.find_base_model(name, trust_remote_code)
        if self.options.packing and self.base.encoder_decoder:
            raise UsageError(
                "`--packing` is for models of one stack",
                f"`{name}` is an encoder-decoder, whose attention knows no borders in a row",
                "leave `--packing` out",
            )
        self.manifest.base_model = self.base.to_manifest()
        self.tokenizer = models.load_tokenizer(self.base, trust_remote_code, self.options.template)
        self.trust_remote_code = trust_remote_code

    def encode(self, system: System, records: list[Record]) -> list:
        """Returns the tokens of the records to score on, chosen by seed, in the split's order."""
        from lorapar_cli.models.tokenization import encode

        options, notes = self.options, self.manifest.notes
        limit = min(options.max_length, self.base.max_length or options.max_length)
        order = list(range(len(records)))
        random.Random(options.seed).shuffle(order)
        kept, too_long = {}, 0
        for index in order:
            if len(kept) == options.samples:
                break
            sample = encode(self.tokenizer, records[index])
            if len(sample.input_ids) > limit:
                too_long += 1
            else:
                kept[index] = sample
        if len(kept) < 2:
            raise LoraparError(
                f"{len(kept)} records of {system} can be scored on, at least 2 are needed",
                f"{len(records)} records, {too_long} of them longer than {limit} tokens",
                "give more data, or raise `--max-length` as far as the model's own limit allows",
            )
        if too_long:
            notes.append(f"{too_long} {system} records of more than {limit} tokens were left out")
        if len(kept) < options.samples and "samples" in self.manifest.given:
            notes.append(
                f"{system} has {len(kept)} samples, fewer than the {options.samples} asked"
            )
        for key, count in (("samples", len(kept)), ("too_long", too_long)):
            self.manifest.counts.setdefault(key, {})[system.value] = count
        return [kept[index] for index in sorted(kept)]

    def create(self, samples: dict[System, list]) -> None:
        """Loads the base model, creates the adapter, measures what it does to the function."""
        from lorapar_cli.models.adapter import (
            adapter_parameters,
            create_adapter,
            load_base,
            stacked_experts,
        )
        from lorapar_cli.scoring.accumulate import require_apart, step0_difference
        from lorapar_cli.scoring.gradients import scored_values

        options = self.options
        self.progress("loading the base model", 0, None)
        base = load_base(self.base, options.dtype, self.trust_remote_code, options.quantize)
        self.progress(f"creating the adapter, init {options.init}", 0, None)
        self.model = create_adapter(
            base,
            r=options.r,
            lora_alpha=options.lora_alpha,
            target_modules=list(options.target_modules),
            init=options.init,
            init_scale=options.init_scale,
            seed=options.seed,
            data=self._init_data(list(samples.values())),
        ).eval()
        # Sums over data on GPUs do not end in the same digits in every process.
        self.processes.copy_from_main(p.data for p in adapter_parameters(self.model).values())
        self.values = scored_values(self.model, self.raw_rank)
        self.fingerprint = layout_fingerprint({n: tuple(v.shape) for n, v in self.values.items()})
        self.manifest.layout_fingerprint = self.fingerprint
        self.manifest.counts["elements"] = sum(v.numel() for v in self.values.values())
        self.manifest.counts["matrices"] = len(self.values)
        if experts := stacked_experts(self.model):
            self.manifest.notes.append(f"{experts} and have no elements in the adapter")
        if options.packing:
            every = [sample for own in samples.values() for sample in own]
            require_apart(self.model, every, self.tokenizer.pad_token_id)
        difference, largest = step0_difference(
            self.model, samples[System.SYSTEM1][:_PROBED], self.tokenizer.pad_token_id
        )
        self.manifest.metrics["step0_logit_difference"] = difference
        self.manifest.metrics["step0_largest_logit"] = largest
        if difference > 1e-3 * max(largest, 1):
            self.manifest.notes.append(
                f"init `{options.init}` changes the base model's function at step 0: logits by up "
                f"to {difference:.1e}, the largest logit is {largest:.1f}"
            )

    def _init_data(self, systems: list[list]):
        """Returns what the init looks at, None where it looks at nothing; says what that is."""
        from lorapar_cli.models.adapter import load_base
        from lorapar_cli.models.data_inits import NEEDS_SAMPLES, InitData, choose_samples

        options, notes = self.options, self.manifest.notes
        pad = self.tokenizer.pad_token_id
        if options.init in NEEDS_SAMPLES:
            chosen = choose_samples(systems, options.seed)
            notes.append(
                f"init `{options.init}` looked at {len(chosen)} samples, as many of each system"
            )
            return InitData(chosen, pad)
        if options.init == "loftq":
            notes.append(
                "init `loftq` corrects the 4-bit weights: train, evaluate and load it with 4-bit "
                "weights (`--quantize 4bit`)"
            )
            whole = load_base(self.base, options.dtype, self.trust_remote_code, keep_on_cpu=True)
            return InitData([], pad, whole)
        return None

    def score_system(self, system: System, samples: list) -> tuple[dict, list]:
        """Returns name -> importance and, where gradients were summed, the halves' sets."""
        from lorapar_cli.elements import importance

        options, values = self.options, self.values
        if options.formula == "magnitude":
            return importance.magnitude_importance(values), []
        if options.formula == "random":
            return importance.random_importance(values, options.seed, system), []
        sums = self._sum(system, samples)
        found = importance.compute_importance(values, sums, options.formula)
        _require_finite(found, system, options.dtype)
        if not any(tensor.any() for tensor in found.values()):
            from lorapar_cli.models.lora_inits import zero_importance

            raise zero_importance(options.init, system)
        return found, [self._half_set(sums, half) for half in range(importance.HALVES)]

    def _half_set(self, sums, half: int):
        """Returns what one half of a system's samples would choose."""
        from lorapar_cli.elements import importance
        from lorapar_cli.elements.top_sets import importance_keys
        from lorapar_cli.scoring import split_half as noise

        formula = self.options.formula
        found = importance.compute_importance(self.values, sums, formula, half)
        terms = None
        if importance.FORMULAS[formula].needs_product:
            signed = importance.signed_terms(self.values, sums, half)
            terms = [signed[name].numpy() for name in sorted(signed)]

        def keys() -> Iterator:
            return (importance_keys(found[name].numpy()) for name in sorted(found))

        return noise.half_set(keys, NOISE_THETA, terms)

    def _sum(self, system: System, samples: list):
        """Returns the sums over all samples, of all processes."""
        from lorapar_cli.elements.importance import GradientSums
        from lorapar_cli.scoring.accumulate import Scoring, sum_gradients
        from lorapar_cli.scoring.checkpoint import SavedSums

        started = time.monotonic()
        device = next(iter(self.values.values())).device
        sums = GradientSums({n: v.numel() for n, v in self.values.items()}, device)
        halves = [index % 2 for index in range(len(samples))]
        random.Random(self.options.seed).shuffle(halves)
        scoring = Scoring(samples, halves, sums, self.options.batch_tokens, self.options.packing)
        path = self.partial / f"{system}-{self.processes.rank}.safetensors"
        saved = SavedSums(path, self._identity(system), self.save_seconds)
        if found := saved.restore(scoring):
            self.manifest.notes.append(f"went on from the sums of {found} {system} samples")

        def after_batch() -> None:
            done = len(scoring.done) * self.processes.count
            self.progress(f"scoring {system}", min(done, len(samples)), len(samples))
            saved.keep(scoring)

        shortages = sum_gradients(
            self.model,
            scoring,
            mine=self.processes.share,
            pad_token_id=self.tokenizer.pad_token_id,
            raw_rank=self.raw_rank,
            after_batch=after_batch,
        )
        saved.finish(scoring)
        self.processes.add_up(sums.flat)
        self.processes.add_up(sums.tally)
        if shortages:
            self.manifest.notes.append(
                f"memory ran out {shortages} times on {system}, batches were halved: a smaller "
                "`--batch-tokens` saves these attempts"
            )
        self.manifest.metrics[f"loss_{system}"] = sums.mean_loss
        self.manifest.metrics[f"seconds_{system}"] = time.monotonic() - started
        return sums

    def _identity(self, system: System) -> dict[str, Any]:
        return {
            "settings": self.manifest.settings | {"target_modules": list(self.values)},
            "inputs": {name: item["sha256"] for name, item in self.manifest.inputs.items()},
            "base_model": self.manifest.base_model,
            "system": system.value,
            "processes": self.processes.count,
        }

    def describe_noise(self, halves: list[list]) -> None:
        """Stores and words how far the two systems differ beyond sampling noise."""
        if not all(halves):
            return
        from lorapar_cli.scoring.split_half import compare_halves, in_words

        fewest = min(self.manifest.counts["samples"].values())
        noise = compare_halves(*halves, NOISE_THETA, fewest)
        self.manifest.metrics["noise"] = noise.to_metrics()
        self.manifest.notes.append(in_words(noise))

    def publish(self, tensors: dict[str, Any]) -> None:
        """Writes the stage folder, in the first process; the others wait for it."""
        from lorapar_cli.models.adapter import save_adapter, save_raw_adapter

        if self.processes.rank == 0:
            with new_folder(self.target) as built:
                header = {
                    "formula": self.options.formula,
                    "samples": self.manifest.counts["samples"],
                    "fingerprint": self.fingerprint,
                }
                write_tensors(built / IMPORTANCE, tensors, header)
                save_adapter(self.model, built / "adapter")
                if self.raw_rank is not None:
                    save_raw_adapter(self.model, self.raw_rank, built / "adapter-raw")
                write_manifest(built, self.manifest)
            shutil.rmtree(self.partial, ignore_errors=True)
        self.processes.wait()


def _require_finite(importance: dict, system: System, dtype: str) -> None:
    for name, values in importance.items():
        if not values.isfinite().all():
            raise LoraparError(
                f"importance is not finite for {system}",
                f"in `{name}`, base model in {dtype}",
                "take a `--dtype` of larger range (`bfloat16`, `float32`), or look at the base "
                "model's weights",
            )

"""The steps of one scoring run."""

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.events import Advance, Progress, silent
from lorapar_cli.names import System
from lorapar_cli.scoring.checkpoint import partial_folder
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.store.atomic import new_folder
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.records import Record
from lorapar_cli.store.tensor_files import layout_fingerprint, write_tensors

IMPORTANCE = "importance.safetensors"
NOISE_THETA = 0.9


_PROBED = 8


class ScoreRun:
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
        from lorapar_cli.models.base_model import find_base_model, load_tokenizer

        self.base = find_base_model(name, trust_remote_code)
        if self.options.packing and self.base.encoder_decoder:
            raise UsageError(
                "`--packing` is for models of one stack",
                f"`{name}` is an encoder-decoder, whose attention knows no borders in a row",
                "leave `--packing` out",
            )
        self.manifest.base_model = self.base.to_manifest()
        self.tokenizer = load_tokenizer(self.base, trust_remote_code, self.options.template)
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
        from lorapar_cli.models.adapter import adapter_parameters, create_adapter, stacked_experts
        from lorapar_cli.models.base_model import load_base
        from lorapar_cli.scoring.gradients import scored_values
        from lorapar_cli.scoring.logit_checks import check_packing, step0_difference

        options = self.options
        self.progress(Advance("loading the base model"))
        base = load_base(self.base, options.dtype, self.trust_remote_code, options.quantize)
        self.progress(Advance(f"creating the adapter, init {options.init}"))
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
            check_packing(self.model, every, self.tokenizer.pad_token_id)
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
        from lorapar_cli.models.base_model import load_base
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
        from lorapar_cli.scoring.accumulate import GradientPass, sum_gradients
        from lorapar_cli.scoring.checkpoint import SavedSums

        started = time.monotonic()
        device = next(iter(self.values.values())).device
        sums = GradientSums({n: v.numel() for n, v in self.values.items()}, device)
        halves = [index % 2 for index in range(len(samples))]
        random.Random(self.options.seed).shuffle(halves)
        scoring = GradientPass(
            samples, halves, sums, self.options.batch_tokens, self.options.packing
        )
        path = self.partial / f"{system}-{self.processes.rank}.safetensors"
        saved = SavedSums(path, self._identity(system), self.save_seconds)
        if found := saved.restore(scoring):
            self.manifest.notes.append(f"went on from the sums of {found} {system} samples")

        def after_batch() -> None:
            done = len(scoring.done) * self.processes.count
            self.progress(Advance(f"scoring {system}", min(done, len(samples)), len(samples)))
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

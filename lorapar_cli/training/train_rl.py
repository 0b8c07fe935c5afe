"""`train-rl`: GRPO of the elements that the mask activates, on System-2 records."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

from lorapar_cli.errors import LoraparError
from lorapar_cli.events import Advance, Note, Progress, silent
from lorapar_cli.libraries import TRAINING, require_libraries
from lorapar_cli.models.rendering.tokenization import encode_prompt, has_tools
from lorapar_cli.names import Flag, Stage
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.stage_records.training import PassFilter, TrainedRecords
from lorapar_cli.store.manifest import Outcome
from lorapar_cli.store.records import Record, count_systems
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.training.inputs import (
    drop_too_long,
    find_training_inputs,
)
from lorapar_cli.training.option_aliases import adopt_options
from lorapar_cli.training.options import RlOptions
from lorapar_cli.training.preflight import find_rewards, read_trainer_arguments
from lorapar_cli.training.recipes.init_warning import init_of, rl_init_warning
from lorapar_cli.training.rewards.code import check_record_tests, with_tests
from lorapar_cli.training.rewards.load import WeightedRewards
from lorapar_cli.training.rewards.names import CODE
from lorapar_cli.training.rollouts.requirements import ASYNC
from lorapar_cli.training.watching.parts import StageRecords, count_validation, read_stage_records

if TYPE_CHECKING:
    from lorapar_cli.training.grpo import Fit
    from lorapar_cli.training.jobs import Preparation
    from lorapar_cli.training.recipes.learning_rate import LearningRate, ToTrials

PROMPTS = 64
"""Most prompts by whose rewards learning rates are measured."""


def train_rl(
    run_dir: RunDir,
    options: RlOptions,
    *,
    given: Sequence[str] = (),
    progress: Progress = silent,
) -> Outcome:
    """Trains the adapter of `train-sft` further by GRPO on System-2 records and publishes it.

    Only elements with flag 8 of the mask change; that every other one is bit-identical is checked
    before anything is published. Records without a reference answer, which rewards compare with,
    are left out.

    Args:
        given: Names of the options that the user gave, as opposed to defaults.

    Raises:
        LoraparError: An input is missing, stale or does not fit, or training went wrong.
        UsageError: An option or training argument is unknown or does not fit the others.
    """
    options = adopt_options(options, given)
    rewards = find_rewards(options)
    source = find_training_inputs(run_dir, options, Stage.TRAIN_RL, "sft")
    if not options.dry_run and (done := source.find_result()) is not None:
        return done
    require_libraries(TRAINING, "`lorapar train-rl`")
    manifest = source.new_manifest(Stage.TRAIN_RL, given)
    parts = read_stage_records(
        run_dir,
        source,
        options,
        manifest.notes,
        lambda found, path, notes: _with_reference(found, path, notes, CODE in rewards),
    )
    _refuse_tools(parts.all)
    _warn_of_init(source.adapter, manifest.notes, progress)

    progress(Advance("loading the base model"))
    from lorapar_cli.models.base_model import load_tokenizer
    from lorapar_cli.training import grpo, jobs, run
    from lorapar_cli.training.recipes.learning_rate import LearningRate
    from lorapar_cli.training.watching.plan import plan_watch

    extra = read_trainer_arguments(options)
    base, start = run.read_starting_adapter(source, Flag.RL, options.trust_remote_code)
    tokenizer = load_tokenizer(base, options.trust_remote_code, source.template, manifest.notes)
    data = _RlData(tokenizer, options, rewards, parts, manifest.notes)
    plan = plan_watch(options, tokenizer, base, parts, manifest.notes, gradable=CODE not in rewards)
    job = jobs.TrainingJob(
        source.folder, manifest, options, base, start, data.counts(), 0.0, grpo.SHOWN, plan
    )
    rate, fit = LearningRate(options, given, start, manifest.notes), _fitting(options)
    trials = partial(grpo.rate_trials, tokenizer, rewards, options, extra)
    return run.run_training(
        job,
        lambda loaded: fit(loaded, tokenizer, data.records, rewards, rate.options, extra),
        lambda trained: grpo.to_record(data.counts(), trained, rate.metrics(), data.pass_filter),
        progress,
        lambda preparation: data.prepare(preparation, rate, partial(trials, preparation)),
    )


def _fitting(options: RlOptions) -> "Fit":
    """Returns what trains the model: asynchronously, or sampling for every step."""
    from lorapar_cli.training.grpo import fit_grpo

    if options.vllm != ASYNC:
        return fit_grpo
    from lorapar_cli.training.rollouts.async_grpo import fit_async

    return fit_async


class _RlData:
    """What the stage trains on: known at once, unless it depends on what the model can do.

    Attributes:
        records: Those whose prompts are within the limits.
        pass_filter: What filtering by pass rate found; None where it was not asked for.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        options: RlOptions,
        rewards: WeightedRewards,
        parts: StageRecords,
        notes: list[str],
    ) -> None:
        self._tokenizer, self._options, self._rewards = tokenizer, options, rewards
        self._parts = parts
        self.records = _drop_long(tokenizer, parts.all, options.max_prompt_length, notes)
        self.pass_filter: PassFilter | None = None
        if options.filters and options.dry_run:
            number = len(self.records) * options.pass_samples
            notes.append(
                f"before training, {counted(number, 'completion')} of "
                f"{counted(len(self.records), 'prompt')} {inflected(number, 'is', 'are')} "
                "sampled to filter them by pass rate; fewer records are trained on"
            )

    def prepare(
        self,
        preparation: "Preparation",
        rate: "LearningRate[RlOptions]",
        to_trials: "ToTrials[Record]",
    ) -> None:
        """Leaves out prompts by their pass rates; finds the learning rate with the others."""
        if self._options.filters:
            from lorapar_cli.training.recipes.pass_rates import filter_by_pass_rate

            self.records, self.pass_filter = filter_by_pass_rate(
                preparation, self._tokenizer, self.records, self._rewards, self._options
            )
            if self._options.replay:
                counts = self.counts()
                share = counts["replayed_records"] / counts["trained_records"]
                preparation.job.manifest.notes.append(
                    f"{counts['replayed_records']:,} of the records left by pass rate, {share:.0%}, "
                    f"{inflected(counts['replayed_records'], 'is', 'are')} replayed: "
                    f"`--replay {self._options.replay:g}` is their share before"
                )
        rate.find(preparation, self.records, PROMPTS, to_trials)

    def counts(self) -> TrainedRecords:
        """Returns what is counted of the records."""
        counts: TrainedRecords = {
            "records": count_systems(self._parts.all),
            "trained_records": len(self.records),
        }
        if self._options.replay:
            replayed = set(map(id, self._parts.replayed))
            counts["replayed_records"] = sum(id(record) in replayed for record in self.records)
        count_validation(counts, self._parts)
        return counts


def _drop_long(
    tokenizer: PreTrainedTokenizerBase, records: list[Record], limit: int, notes: list[str]
) -> list[Record]:
    """Returns the records whose prompts are within `limit` tokens."""
    lengths = [len(encode_prompt(tokenizer, record.prompt)) for record in records]
    option = "--max-prompt-length"
    return drop_too_long(records, lengths, records, limit, "prompt", option, notes)


def _warn_of_init(adapter: Path, notes: list[str], progress: Progress) -> None:
    """Adds a sentence to `notes`, and says it at once, if RL may collapse on the adapter's init."""
    if (warning := rl_init_warning(init_of(adapter))) is not None:
        notes.append(warning)
        progress(Note(warning))


def _refuse_tools(records: list[Record]) -> None:
    """Refuses records whose prompts GRPO would render without their tools.

    Raises:
        LoraparError: A record has tools; names it.
    """
    for record in records:
        if has_tools(record.prompt, record.tools):
            raise LoraparError(
                "`train-rl` cannot train on records with tools",
                f"record `{record.id}` has tools or calls of tools",
                "leave such records out of the data",
            )


def _with_reference(
    records: list[Record], path: Path, notes: list[str], tests: bool
) -> list[Record]:
    """Returns the records that can be rewarded; with `tests`, tests stand for the answer."""
    if tests:
        records = [with_tests(record) for record in records]
    kept = [record for record in records if record.reference_answer is not None]
    if not kept:
        raise LoraparError(
            "there is nothing to train on",
            f"{counted(len(records), 'record')} of `{path}`, none with a reference answer",
            "rewards compare with reference answers; give records that have one",
        )
    if tests:
        check_record_tests(kept)
    if left_out := len(records) - len(kept):
        notes.append(
            f"{left_out} of {counted(len(records), 'record')} of {path.name} left out: "
            f"{inflected(left_out, 'it has', 'they have')} no reference answer"
        )
    return kept

"""`train-sft`: SFT of the elements that the mask activates, on System-1 records."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

from lorapar_cli.events import Advance, Progress, TokenView, silent
from lorapar_cli.libraries import TRAINING, require_libraries
from lorapar_cli.models.rendering.encoding import (
    Encoded,
    describe_encoding,
    encode_records,
    shown_tokens,
)
from lorapar_cli.names import Flag, Stage
from lorapar_cli.plurals import counted
from lorapar_cli.stage_records.training import ReplaySampling, TrainedTokens
from lorapar_cli.store.manifest import Outcome
from lorapar_cli.store.records import Record, count_systems
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.training.inputs import (
    drop_too_long,
    find_training_inputs,
)
from lorapar_cli.training.option_aliases import adopt_options
from lorapar_cli.training.options import SftOptions
from lorapar_cli.training.preflight import read_trainer_arguments
from lorapar_cli.training.recipes.options import SELF
from lorapar_cli.training.watching.parts import StageRecords, count_validation, read_stage_records

if TYPE_CHECKING:
    from lorapar_cli.training.jobs import Preparation
    from lorapar_cli.training.recipes.learning_rate import LearningRate, ToTrials

HELD_OUT = 256
"""Most records that learning rates are measured by."""


def train_sft(
    run_dir: RunDir,
    options: SftOptions,
    *,
    given: Sequence[str] = (),
    progress: Progress = silent,
) -> Outcome:
    """Trains the adapter that `score` stored on System-1 records and publishes it.

    Only elements with flag 4 of the mask change; that every other one is bit-identical is checked
    before anything is published.

    Args:
        given: Names of the options that the user gave, as opposed to defaults.

    Raises:
        LoraparError: An input is missing, stale or does not fit, or training went wrong.
        UsageError: A training argument is unknown, or no base model is known.
    """
    options = adopt_options(options, given)
    source = find_training_inputs(run_dir, options, Stage.TRAIN_SFT, "init")
    done = None if options.dry_run else source.find_result()
    if done is not None and not options.show_tokens:
        return done
    require_libraries(TRAINING, "`lorapar train-sft`")
    manifest = source.new_manifest(Stage.TRAIN_SFT, given)
    records = read_stage_records(run_dir, source, options, manifest.notes)

    progress(Advance("loading the base model"))
    from lorapar_cli.models.base_model import load_tokenizer
    from lorapar_cli.training import jobs, run, sft
    from lorapar_cli.training.recipes.learning_rate import LearningRate
    from lorapar_cli.training.watching.plan import plan_watch

    extra = read_trainer_arguments(options)
    base, start = run.read_starting_adapter(source, Flag.SFT, options.trust_remote_code)
    tokenizer = load_tokenizer(base, options.trust_remote_code, source.template, manifest.notes)
    data = _SftData(tokenizer, options, records, manifest.notes)
    if options.show_tokens:
        shown = data.encoded[: options.show_tokens]
        progress(TokenView([shown_tokens(tokenizer, item) for item in shown]))
    if done is not None:
        return done
    plan, dropout = (
        plan_watch(options, tokenizer, base, records, manifest.notes),
        options.lora_dropout,
    )
    job = jobs.TrainingJob(
        source.folder, manifest, options, base, start, data.counts(), dropout, sft.SHOWN, plan
    )
    rate = LearningRate(options, given, start, manifest.notes)
    trials = partial(sft.rate_trials, tokenizer, extra)
    return run.run_training(
        job,
        lambda loaded: sft.fit_sft(loaded, tokenizer, data.encoded, rate.options, extra),
        lambda trained: sft.to_record(data.counts(), trained, rate.metrics(), data.sampling),
        progress,
        lambda preparation: data.prepare(preparation, rate, partial(trials, preparation)),
    )


class _SftData:
    """What the stage trains on: known at once, but for answers of the base model's own.

    Attributes:
        encoded: Tokens of the records.
        sampling: What sampling answers took; None where there are none.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        options: SftOptions,
        records: StageRecords,
        notes: list[str],
    ) -> None:
        self._tokenizer, self._options, self._records = tokenizer, options, records
        self._own, self._replayed, self._asked = records.own, records.replayed, list[Record]()
        if options.replay_source == SELF:
            self._replayed, self._asked = [], records.replayed
        self.sampling: ReplaySampling | None = None
        found = _encode(tokenizer, self._own, self._replayed, options.max_length, notes)
        self.encoded = [item for item, _ in found]
        self._trained_replayed = sum(is_replayed for _, is_replayed in found)
        if self._asked and options.dry_run:
            notes.append(
                f"before training, the base model is asked {counted(len(self._asked), 'prompt')}, and what it "
                "answers is trained on as well"
            )

    def prepare(
        self,
        preparation: "Preparation",
        rate: "LearningRate[SftOptions]",
        to_trials: "ToTrials[Encoded]",
    ) -> None:
        """Adds the base model's answers that are to be replayed; finds the rate with all records."""
        if self._asked:
            from lorapar_cli.training.recipes.self_replay import sample_replay

            self._replayed, encoded, self.sampling = sample_replay(
                preparation, self._tokenizer, self._asked, self._options
            )
            self.encoded += encoded
            self._trained_replayed = len(encoded)
        rate.find(preparation, self.encoded, HELD_OUT, to_trials)

    def counts(self) -> TrainedTokens:
        """Returns what is counted of the records."""
        counts: TrainedTokens = {
            "records": count_systems(self._own + self._replayed),
            "trained_records": len(self.encoded),
            "loss_tokens": sum(item.completion_length for item in self.encoded),
        }
        if self._options.replay:
            counts["replayed_records"] = self._trained_replayed
        count_validation(counts, self._records)
        return counts


def _encode(
    tokenizer: PreTrainedTokenizerBase,
    own: list[Record],
    replayed: list[Record],
    limit: int,
    notes: list[str],
) -> list[tuple[Encoded, bool]]:
    """Returns the tokens of records within `limit` tokens, and whether each is replayed."""
    records = own + replayed
    everything = encode_records(tokenizer, records)
    notes.extend(describe_encoding(everything))
    lengths = [len(item.input_ids) for item in everything]
    items = [(item, number >= len(own)) for number, item in enumerate(everything)]
    what = "prompt and completion"
    return drop_too_long(items, lengths, records, limit, what, "--max-length", notes)

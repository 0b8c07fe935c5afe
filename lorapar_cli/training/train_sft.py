"""`train-sft`: SFT of the elements that the mask activates, on System-1 records."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from lorapar_cli.events import Advance, Progress, TokenView, silent
from lorapar_cli.models.rendering.encoding import (
    Encoded,
    describe_encoding,
    encode_records,
    shown_tokens,
)
from lorapar_cli.names import Flag, Stage
from lorapar_cli.stage_records.training import TrainedTokens
from lorapar_cli.store.manifest import Outcome
from lorapar_cli.store.records import Record, count_systems
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.training.inputs import drop_too_long, find_training_inputs, read_training_records
from lorapar_cli.training.option_aliases import adopt_options
from lorapar_cli.training.options import SftOptions
from lorapar_cli.training.preflight import read_trainer_arguments


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
    manifest = source.new_manifest(Stage.TRAIN_SFT, given)
    records = read_training_records(source.files, options.replay, options.seed, manifest.notes)

    progress(Advance("loading the base model"))
    from lorapar_cli.models.base_model import load_tokenizer
    from lorapar_cli.training import jobs, run, sft

    extra = read_trainer_arguments(options)
    base, start = run.read_starting_adapter(source, Flag.SFT, options.trust_remote_code)
    tokenizer = load_tokenizer(base, options.trust_remote_code, source.template, manifest.notes)
    encoded = _encode(tokenizer, records, options.max_length, manifest.notes)
    if options.show_tokens:
        shown = encoded[: options.show_tokens]
        progress(TokenView([shown_tokens(tokenizer, item) for item in shown]))
    if done is not None:
        return done
    counts: TrainedTokens = {
        "records": count_systems(records),
        "trained_records": len(encoded),
        "loss_tokens": sum(item.completion_length for item in encoded),
    }
    job = jobs.TrainingJob(
        source.folder, manifest, options, base, start, counts, options.lora_dropout, sft.SHOWN
    )
    return run.run_training(
        job,
        lambda loaded: sft.fit_sft(loaded, tokenizer, encoded, options, extra),
        lambda trained: sft.to_record(counts, trained),
        progress,
    )


def _encode(
    tokenizer: PreTrainedTokenizerBase, records: list[Record], limit: int, notes: list[str]
) -> list[Encoded]:
    """Returns the tokens of the records that are within `limit` tokens."""
    everything = encode_records(tokenizer, records)
    notes.extend(describe_encoding(everything))
    lengths = [len(item.input_ids) for item in everything]
    what = "prompt and completion"
    return drop_too_long(everything, lengths, records, limit, what, "--max-length", notes)

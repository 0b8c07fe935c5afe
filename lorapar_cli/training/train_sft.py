"""Stage 4: SFT of the elements that the mask activates, on System-1 records."""

from collections.abc import Callable
from pathlib import Path

from lorapar_cli.events import Advance, Progress, silent
from lorapar_cli.names import Flag, Stage
from lorapar_cli.store.manifest import Outcome, read_manifest
from lorapar_cli.store.records import count_systems
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.training.inputs import find_training_inputs, read_training_records
from lorapar_cli.training.masking.engines import requested_engine
from lorapar_cli.training.options import SftOptions

Shown = list[list[tuple[str, bool]]]
"""Records as their tokens, each with whether it carries loss."""


def train_sft(
    run_dir: RunDir,
    options: SftOptions,
    *,
    splits: Path | None = None,
    mask: str | None = None,
    start: str | None = None,
    adapter: Path | None = None,
    model: str | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    show_tokens: int = 0,
    show: Callable[[Shown], None] | None = None,
    trust_remote_code: bool = False,
    given: list[str] | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Trains the adapter that `score` stored on System-1 records and publishes it.

    Only elements with flag 4 of the mask move; that every other one is bit-identical is checked
    before anything is published.

    Args:
        options: Settings of the training; every one of them decides the result.
        start: `init`, `sft` or `rl`: the run's adapter to go on from; None for the usual one.
        splits, mask, adapter, model, out: None for the run's own; `none` as mask trains every
            element.
        overwrite: Replace a result of other settings or inputs.
        dry_run: Do everything up to the first step, write nothing; the figures are in the
            manifest's metrics.
        show_tokens: Give so many records to `show` before anything else.

    Raises:
        LoraparError: An input is missing, stale or does not fit, or training went wrong.
        UsageError: A training argument is unknown, or no base model is known.
    """
    from lorapar_cli.training.option_aliases import adopt_options

    options = adopt_options(options, given)
    folder = out or run_dir.folder(Stage.TRAIN_SFT)
    source = find_training_inputs(
        run_dir, options, start or "init", splits=splits, mask=mask, adapter=adapter, model=model
    )
    if not (dry_run or show_tokens) and source.up_to_date(folder):
        return Outcome(folder, read_manifest(folder), fresh=False)
    manifest = source.new_manifest(Stage.TRAIN_SFT, given, options.seed)
    records = read_training_records(source.files, options.replay, options.seed, manifest.notes)
    manifest.counts["records"] = count_systems(records)

    progress(Advance("loading the base model"))
    from lorapar_cli.models.base_model import load_tokenizer
    from lorapar_cli.models.tokenization import encode, shown_tokens
    from lorapar_cli.training import sft
    from lorapar_cli.training.masking.optimizers import require_optimizer
    from lorapar_cli.training.run import drop_too_long, read_starting_adapter, train
    from lorapar_cli.training.trainer_arguments import parse_training_arguments, require_tracker

    require_tracker(options.report_to)
    require_optimizer(options, requested_engine())
    extra = parse_training_arguments(options.training, sft.SFTConfig)
    base, trained = read_starting_adapter(source, Flag.SFT, trust_remote_code)
    tokenizer = load_tokenizer(base, trust_remote_code, source.template)
    encoded = [encode(tokenizer, record) for record in records]
    encoded, note = drop_too_long(
        encoded,
        [len(item.input_ids) for item in encoded],
        [record.id for record in records],
        options.max_length,
        "prompt and completion",
    )
    if show is not None and show_tokens:
        show([shown_tokens(tokenizer, item) for item in encoded[:show_tokens]])
    if not dry_run and source.up_to_date(folder):
        return Outcome(folder, read_manifest(folder), fresh=False)
    manifest.notes += [note] if note else []
    manifest.counts["trained_records"] = len(encoded)
    manifest.counts["loss_tokens"] = sum(item.completion_length for item in encoded)
    return train(
        folder,
        manifest,
        base,
        trained,
        lambda run: sft.train(run, tokenizer, encoded, options, extra),
        options=options,
        dropout=options.lora_dropout,
        shown=sft.SHOWN,
        trust=trust_remote_code,
        overwrite=overwrite,
        dry_run=dry_run,
        progress=progress,
    )

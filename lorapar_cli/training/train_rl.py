"""Stage 5: GRPO of the elements that the mask activates, on System-2 records."""

from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.events import Advance, Progress, silent
from lorapar_cli.names import Flag, Stage
from lorapar_cli.store.manifest import Outcome, read_manifest
from lorapar_cli.store.records import Record, count_systems
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.training.inputs import find_training_inputs, read_training_records
from lorapar_cli.training.masking.engines import requested_engine
from lorapar_cli.training.options import RlOptions
from lorapar_cli.training.rewards.code import with_tests
from lorapar_cli.training.rewards.load import CODE


def train_rl(
    run_dir: RunDir,
    options: RlOptions,
    *,
    splits: Path | None = None,
    mask: str | None = None,
    start: str | None = None,
    adapter: Path | None = None,
    model: str | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    allow_code_execution: bool = False,
    unsafe_code_execution: bool = False,
    trust_remote_code: bool = False,
    given: list[str] | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Goes on training the SFT adapter by GRPO on System-2 records and publishes it.

    Only elements with flag 8 of the mask move; that every other one is bit-identical is checked
    before anything is published. Records without a reference answer cannot be rewarded for the
    right one and are left out.

    Args:
        options: Settings of the training; every one of them decides the result.
        start: `init`, `sft` or `rl`: the run's adapter to go on from; None for the usual one.
        splits, mask, adapter, model, out: None for the run's own; `none` as mask trains every
            element.
        overwrite: Replace a result of other settings or inputs.
        dry_run: Do everything up to the first step, write nothing; the figures are in the
            manifest's metrics.
        allow_code_execution: Let the reward `code` run what the model writes, in a sandbox.
        unsafe_code_execution: Let it do so where this machine offers none.

    Raises:
        LoraparError: An input is missing, stale or does not fit, or training went wrong.
        UsageError: An option or training argument is unknown or does not fit the others.
    """
    from lorapar_cli.training.option_aliases import adopt_options
    from lorapar_cli.training.preflight import find_rewards

    options = adopt_options(options, given)
    rewards = find_rewards(options, allow_code_execution, unsafe_code_execution)
    folder = out or run_dir.folder(Stage.TRAIN_RL)
    source = find_training_inputs(
        run_dir, options, start or "sft", splits=splits, mask=mask, adapter=adapter, model=model
    )
    if not dry_run and source.up_to_date(folder):
        return Outcome(folder, read_manifest(folder), fresh=False)
    manifest = source.new_manifest(Stage.TRAIN_RL, given, options.seed)
    records = read_training_records(
        source.files,
        options.replay,
        options.seed,
        manifest.notes,
        lambda read, path: _with_reference(read, path, manifest.notes, CODE in rewards),
    )
    manifest.counts["records"] = count_systems(records)

    progress(Advance("loading the base model"))
    from lorapar_cli.models.base_model import load_tokenizer
    from lorapar_cli.models.tokenization import encode_prompt
    from lorapar_cli.training import grpo
    from lorapar_cli.training.masking.optimizers import require_optimizer
    from lorapar_cli.training.run import drop_too_long, read_starting_adapter, train
    from lorapar_cli.training.trainer_arguments import parse_training_arguments, require_tracker

    require_tracker(options.report_to)
    require_optimizer(options, requested_engine())
    extra = parse_training_arguments(options.training, grpo.GRPOConfig)
    base, trained = read_starting_adapter(source, Flag.RL, trust_remote_code)
    tokenizer = load_tokenizer(base, trust_remote_code, source.template)
    records, note = drop_too_long(
        records,
        [len(encode_prompt(tokenizer, record.prompt)) for record in records],
        [record.id for record in records],
        options.max_prompt_length,
        "prompt",
    )
    manifest.notes += [note] if note else []
    manifest.counts["trained_records"] = len(records)
    return train(
        folder,
        manifest,
        base,
        trained,
        lambda run: grpo.train(run, tokenizer, records, rewards, options, extra),
        options=options,
        dropout=0.0,
        shown=grpo.SHOWN,
        trust=trust_remote_code,
        overwrite=overwrite,
        dry_run=dry_run,
        progress=progress,
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
            f"none of the {len(records)} records of `{path}` has a reference answer",
            "rewards compare with reference answers; give records that have one",
        )
    if len(kept) < len(records):
        notes.append(
            f"{len(records) - len(kept)} of {len(records)} records of {path.name} left out: "
            "they have no reference answer"
        )
    return kept

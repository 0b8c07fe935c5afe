"""Stage 5: GRPO of the elements that the mask activates, on System-2 records."""

from dataclasses import asdict
from pathlib import Path

from lorapar_cli.core.mixing import mix_replay
from lorapar_cli.core.rewards import parse_weights
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Flag, Progress, Stage, silent
from lorapar_cli.settings import RlOptions
from lorapar_cli.store.manifest import (
    Manifest,
    Outcome,
    describe_inputs,
    is_up_to_date,
    read_manifest,
)
from lorapar_cli.store.records import Record, count_systems, read_records
from lorapar_cli.store.rundir import RunDir


def train_rl(
    run_dir: RunDir,
    options: RlOptions,
    *,
    splits: Path | None = None,
    mask: str | None = None,
    adapter: Path | None = None,
    model: str | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    given: list[str] | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Goes on training the SFT adapter by GRPO on System-2 records and publishes it.

    Only elements with flag 8 of the mask move; that every other one is bit-identical is checked
    before anything is published. Records without a reference answer cannot be rewarded for the
    right one and are left out.

    Raises:
        LoraparError: An input is missing, stale or does not fit, or training went wrong.
        UsageError: An option or training argument is unknown or does not fit the others.
    """
    weights = parse_weights(options.rewards)
    _check_batch(options)
    folder = out or run_dir.folder(Stage.TRAIN_RL)
    splits, mask_path, adapter = run_dir.training_inputs(Stage.TRAIN_SFT, splits, mask, adapter)
    own, other = splits / "system2.jsonl", splits / "system1.jsonl"
    inputs = describe_inputs(
        {"system2": own, "adapter": adapter / "adapter_model.safetensors"}
        | ({"mask": mask_path} if mask_path else {})
        | ({"system1": other} if options.replay else {})
    )
    base_id, revision = run_dir.base_of_adapter(model)
    settings = asdict(options) | {"model": base_id}
    if is_up_to_date(folder, settings, inputs):
        return Outcome(folder, read_manifest(folder), fresh=False)
    manifest = Manifest(Stage.TRAIN_RL, settings, given or [], inputs, seed=options.seed)
    records = _with_reference(own, manifest)
    if options.replay:
        replayed = _with_reference(other, manifest)
        records = mix_replay(records, replayed, options.replay, options.seed)
    manifest.counts["records"] = count_systems(records)
    source = (base_id, revision, adapter, mask_path)
    return _train(
        folder, manifest, records, weights, options, source, trust_remote_code, overwrite, progress
    )


def _check_batch(options: RlOptions) -> None:
    completions = options.per_device_batch_size * options.gradient_accumulation
    if completions % options.num_generations:
        raise UsageError(
            f"{completions} completions a step are not groups of {options.num_generations}",
            f"`--per-device-batch-size` {options.per_device_batch_size} x "
            f"`--gradient-accumulation` {options.gradient_accumulation}",
            "make their product a multiple of `--num-generations`",
        )


def _with_reference(path: Path, manifest: Manifest) -> list[Record]:
    records = read_records(path)
    kept = [record for record in records if record.reference_answer is not None]
    if not kept:
        raise LoraparError(
            "there is nothing to train on",
            f"`{path}` is empty"
            if not records
            else f"none of the {len(records)} records of `{path}` has a reference answer",
            "label more data, or ask other teachers, with `lorapar classify`",
        )
    if len(kept) < len(records):
        manifest.notes.append(
            f"{len(records) - len(kept)} of {len(records)} records of {path.name} left out: "
            "they have no reference answer"
        )
    return kept


def _train(
    folder, manifest, records, weights, options, source, trust, overwrite, progress
) -> Outcome:
    progress("loading the base model", 0, None)
    from lorapar_cli.hub import grpo
    from lorapar_cli.hub.models import load_tokenizer, pick_device
    from lorapar_cli.hub.prompts import encode_prompt
    from lorapar_cli.hub.training import (
        build_config,
        common_arguments,
        drop_long,
        find_start,
        open_step_log,
        parse_training_arguments,
        train_and_publish,
    )

    extra = parse_training_arguments(options.training, grpo.GRPOConfig)
    base, start = find_start(*source, Flag.RL, trust)
    tokenizer = load_tokenizer(base, trust)
    records, note = drop_long(
        records,
        lambda record: len(encode_prompt(tokenizer, record.prompt)),
        options.max_prompt_length,
        "prompt",
    )
    manifest.notes += [note] if note else []
    manifest.counts["trained_records"] = len(records)
    device = pick_device()

    def fit(masked, work, checkpoint, callback):
        own = common_arguments(options, work, device) | {
            "num_generations": options.num_generations,
            "max_completion_length": options.max_completion_length,
            "temperature": options.temperature,
            "beta": options.kl_beta,
            "adam_beta2": options.adam_beta2,
        }
        config = build_config(grpo.GRPOConfig, own, extra)
        log = (
            open_step_log(work / "completions.jsonl", checkpoint)
            if config.process_index == 0
            else None
        )
        return grpo.train(masked, tokenizer, records, weights, config, callback, log, checkpoint)

    train_and_publish(
        folder,
        manifest,
        base,
        start,
        fit,
        dtype=options.dtype,
        quantize=options.quantize,
        dropout=0.0,
        shown=grpo.SHOWN,
        trust=trust,
        overwrite=overwrite,
        progress=progress,
    )
    return Outcome(folder, read_manifest(folder))

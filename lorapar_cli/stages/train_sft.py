"""Stage 4: SFT of the elements that the mask activates, on System-1 records."""

from dataclasses import asdict
from pathlib import Path

from lorapar_cli.core.mixing import mix_replay
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Flag, Progress, Stage, silent
from lorapar_cli.settings import SftOptions
from lorapar_cli.store.manifest import (
    Manifest,
    Outcome,
    describe_inputs,
    is_up_to_date,
    read_manifest,
)
from lorapar_cli.store.records import count_systems, read_records
from lorapar_cli.store.rundir import RunDir


def train_sft(
    run_dir: RunDir,
    options: SftOptions,
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
    """Trains the adapter that `score` stored on System-1 records and publishes it.

    Only elements with flag 4 of the mask move; that every other one is bit-identical is checked
    before anything is published.

    Raises:
        LoraparError: An input is missing, stale or does not fit, or training went wrong.
        UsageError: A training argument is unknown, or no base model is known.
    """
    folder = out or run_dir.folder(Stage.TRAIN_SFT)
    splits, mask_path, adapter = run_dir.training_inputs(Stage.SCORE, splits, mask, adapter)
    own, other = splits / "system1.jsonl", splits / "system2.jsonl"
    inputs = describe_inputs(
        {"system1": own, "adapter": adapter / "adapter_model.safetensors"}
        | ({"mask": mask_path} if mask_path else {})
        | ({"system2": other} if options.replay else {})
    )
    base_id, revision = run_dir.base_of_adapter(model)
    settings = asdict(options) | {"model": base_id}
    if is_up_to_date(folder, settings, inputs):
        return Outcome(folder, read_manifest(folder), fresh=False)
    records = read_records(own)
    if not records:
        raise LoraparError(
            "there is nothing to train on",
            f"`{own}` is empty",
            "label more data, or ask other teachers, with `lorapar classify`",
        )
    manifest = Manifest(Stage.TRAIN_SFT, settings, given or [], inputs, seed=options.seed)
    if options.replay:
        records = mix_replay(records, read_records(other), options.replay, options.seed)
    manifest.counts["records"] = count_systems(records)
    return _train(
        folder,
        manifest,
        records,
        options,
        (base_id, revision, adapter, mask_path),
        trust_remote_code,
        overwrite,
        progress,
    )


def _train(folder, manifest, records, options, source, trust, overwrite, progress) -> Outcome:
    progress("loading the base model", 0, None)
    from lorapar_cli.hub import sft
    from lorapar_cli.hub.models import load_tokenizer, pick_device
    from lorapar_cli.hub.prompts import encode
    from lorapar_cli.hub.training import (
        build_config,
        common_arguments,
        drop_long,
        find_start,
        parse_training_arguments,
        train_and_publish,
    )

    extra = parse_training_arguments(options.training, sft.SFTConfig)
    base, start = find_start(*source, Flag.SFT, trust)
    tokenizer = load_tokenizer(base, trust)
    encoded, note = drop_long(
        [encode(tokenizer, record) for record in records],
        lambda item: len(item.input_ids),
        options.max_length,
        "prompt and completion",
    )
    manifest.notes += [note] if note else []
    manifest.counts["trained_records"] = len(encoded)
    manifest.counts["loss_tokens"] = sum(item.completion_length for item in encoded)
    device = pick_device()

    def fit(masked, work, checkpoint, callback):
        own = common_arguments(options, work, device) | {"max_length": None}
        own["dataset_kwargs"] = {"skip_prepare_dataset": True}
        config = build_config(sft.SFTConfig, own, extra)
        return sft.train(masked, tokenizer, encoded, config, callback, checkpoint)

    train_and_publish(
        folder,
        manifest,
        base,
        start,
        fit,
        dtype=options.dtype,
        quantize=options.quantize,
        dropout=options.lora_dropout,
        shown={"loss": "loss", "learning_rate": "lr"},
        trust=trust,
        overwrite=overwrite,
        progress=progress,
    )
    return Outcome(folder, read_manifest(folder))

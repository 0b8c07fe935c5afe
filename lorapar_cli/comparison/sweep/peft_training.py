"""Trains Prompt Tuning, P-Tuning, Prefix Tuning and IA3 through PEFT, on the records of `train-sft`.

How this differs from `train-sft`: PEFT makes what is trained, there is no mask, and transformers'
own trainer runs, because TRL's compares logits with tokens that virtual tokens have shifted.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from peft import (
    IA3Config,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    TaskType,
    get_peft_model,
)
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from lorapar_cli.errors import Diverged, LoraparError
from lorapar_cli.models.base_model import (
    find_base_model,
    load_base,
    load_tokenizer,
    pick_device,
)
from lorapar_cli.models.peft_adapter import save_peft_adapter
from lorapar_cli.models.rendering.chat_template import ChatTemplate, read_arguments, read_template
from lorapar_cli.models.rendering.encoding import Encoded, encode_records
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.stage_records.training import SftCounts, SftFigures, SftRecord
from lorapar_cli.store.atomic import new_folder
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.records import count_systems
from lorapar_cli.store.reuse import describe_inputs
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.training.inputs import drop_too_long, read_training_records, training_files
from lorapar_cli.training.options import SftOptions
from lorapar_cli.training.preflight import read_trainer_arguments
from lorapar_cli.training.sft import collator, to_dataset
from lorapar_cli.training.trainer_arguments import common_arguments, logged

# Of SFTConfig, not of TrainingArguments: lorapar leaves long records out itself.
_NOT_OF_TRAINER = ("max_length",)


def train_peft(
    run_dir: RunDir,
    options: SftOptions,
    method: Mapping[str, Any],
    target: Path,
) -> None:
    """Trains one of PEFT's methods and publishes its adapter in PEFT's own format.

    Args:
        method: `name`, and `virtual_tokens` where it has some.
        target: Folder of the result.

    Raises:
        LoraparError: PEFT cannot do this with the model, or training diverged.
    """
    splits = run_dir.require(Stage.CLASSIFY, "labelled splits", "--splits")
    files = training_files(splits, options.data, 0)
    base = find_base_model(options.model or "", options.trust_remote_code)
    template = ChatTemplate(
        None if options.template is None else read_template(options.template),
        read_arguments(options.template_arg),
    )
    manifest = Manifest(
        Stage.TRAIN_SFT,
        options.settings(model=base.id, template=template.text, template_arg=template.given)
        | {"method": dict(method)},
        inputs=describe_inputs(files),
        seed=options.seed,
    )
    manifest.base_model = base.to_manifest()
    records = read_training_records(files, 0, options.seed, manifest.notes).all
    tokenizer = load_tokenizer(base, options.trust_remote_code, template, manifest.notes)
    encoded = encode_records(tokenizer, records)
    lengths = [len(item.input_ids) for item in encoded]
    what = "prompt and completion"
    kept = drop_too_long(
        encoded, lengths, records, options.max_length, what, "--max-length", manifest.notes
    )
    set_seed(options.seed)
    model = _new_model(load_base(base, options.dtype, options.trust_remote_code), method)
    before = [each.detach().clone() for each in _trained(model)]
    figures = _fit(model, tokenizer, kept, options)
    after = _trained(model)
    moved = sum(int((a != b).sum()) for a, b in zip(before, after, strict=True))
    elements = sum(each.numel() for each in after)
    counts: SftCounts = {
        "records": count_systems(records),
        "trained_records": len(kept),
        "loss_tokens": sum(item.completion_length for item in kept),
        "elements": elements,
        "active": elements,
        "active_moved": moved,
        "frozen_moved": 0,
    }
    manifest.keep(SftRecord(counts, {"processes": 1, "engine": "plain", **figures}))
    with new_folder(target) as built:
        save_peft_adapter(model, built / Artifact.ADAPTER)
        write_manifest(built, manifest, target=target)


def _new_model(base: torch.nn.Module, method: Mapping[str, Any]) -> PeftModel:
    """Returns the base model with a new adapter of a method, its parameters in float32."""
    tokens = {"task_type": TaskType.CAUSAL_LM}
    if "virtual_tokens" in method:
        tokens["num_virtual_tokens"] = method["virtual_tokens"]
    config: PeftConfig = _CONFIGS[method["name"]](**tokens)
    try:
        return cast(PeftModel, get_peft_model(cast(Any, base), config))
    except (ValueError, TypeError, KeyError) as cause:
        raise LoraparError(
            f"PEFT cannot put `{method['name']}` on this base model", str(cause)
        ) from cause


_CONFIGS: Mapping[str, Any] = {
    "prompt-tuning": PromptTuningConfig,
    "p-tuning": PromptEncoderConfig,
    "prefix-tuning": PrefixTuningConfig,
    "ia3": IA3Config,
}


def _trained(model: PeftModel) -> list[torch.nn.Parameter]:
    return [each for each in model.parameters() if each.requires_grad]


def _fit(
    model: PeftModel, tokenizer: Any, encoded: list[Encoded], options: SftOptions
) -> SftFigures:
    """Trains the adapter in place.

    Raises:
        Diverged: Values are not finite.
    """
    extra = read_trainer_arguments(options)
    with TemporaryDirectory() as work:
        own = common_arguments(options, Path(work), pick_device())
        arguments = {key: each for key, each in own.items() if key not in _NOT_OF_TRAINER} | extra
        trainer = Trainer(
            model=cast(Any, model),
            args=TrainingArguments(**(arguments | {"save_strategy": "no"})),
            train_dataset=to_dataset(encoded),
            data_collator=collator(tokenizer),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    if not all(torch.isfinite(each).all() for each in _trained(model)):
        raise Diverged("training diverged", "trained values are not finite")
    losses = logged(trainer, "loss")
    return {"steps": trainer.state.global_step, "loss": sum(losses) / max(len(losses), 1)}

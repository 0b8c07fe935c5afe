"""The memory of a training stage's passes, estimated for its dry run."""

from lorapar_cli.models.adapter import read_lora_config
from lorapar_cli.models.base_model import pick_device, pick_dtype
from lorapar_cli.models.memory.footprint import ACTIVATIONS, LOGITS, ROLLOUTS, plan
from lorapar_cli.models.memory.outline import Drawn
from lorapar_cli.training.jobs import TrainingJob
from lorapar_cli.training.options import RlOptions, SftOptions


def bytes_of_passes(job: TrainingJob) -> dict[str, int]:
    """Returns bytes by what forward, backward and rollouts hold, with the longest sequences allowed.

    Activations and rollouts follow one another.
    """
    options, device = job.options, pick_device()
    adapter = read_lora_config(job.start.folder)
    modules = adapter.target_modules
    drawn = Drawn(
        job.base,
        pick_dtype(options.dtype, device),
        adapter.r,
        tuple([modules] if isinstance(modules, str) else modules or ()),
        # FlashAttention holds what PyTorch's fused kernels do.
        attention="eager" if options.attention == "eager" else None,
        trust_remote_code=options.trust_remote_code,
    )
    completion = sequences = 0
    if isinstance(options, RlOptions):
        tokens = options.max_prompt_length + options.max_completion_length
        completion = options.max_completion_length
        if options.vllm is None:
            sequences = options.per_device_batch_size * options.gradient_accumulation
    elif isinstance(options, SftOptions):
        tokens = options.max_length
    else:
        raise TypeError(f"no training stage has options of type {type(options).__name__}")
    found = plan(drawn).train(
        options.per_device_batch_size,
        min(tokens, job.base.max_length or tokens),
        active=job.start.active_count,
        checkpointing=options.gradient_checkpointing,
        autocast=device.type == "cuda",
        dropout=job.dropout,
        sequences=sequences,
        completion=completion,
    )
    held = found.parts | found.alternating
    return {name: held[name] for name in (LOGITS, ACTIVATIONS, ROLLOUTS) if name in held}

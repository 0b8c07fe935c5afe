"""The base model with a new adapter, whose elements are scored."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel

from lorapar_cli.events import Advance, Progress
from lorapar_cli.models.adapter import adapter_parameters, create_adapter
from lorapar_cli.models.adapter_targets import stacked_experts
from lorapar_cli.models.base_model import load_base
from lorapar_cli.models.data_inits import NEEDS_SAMPLES, InitData, choose_samples
from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.lora_inits import changes_base
from lorapar_cli.models.packing import check_packing
from lorapar_cli.models.placement.loading import load_placed
from lorapar_cli.models.placement.placement import find_placement
from lorapar_cli.plurals import counted
from lorapar_cli.scoring.gradients import scored_values
from lorapar_cli.scoring.logit_checks import step0_difference
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.student import EncodedSystem, Student

_STEP0_SAMPLES = 8
# Change of a logit, relative to the largest one, above which it is more than rounding.
_STEP0_ROUNDING = 1e-3


@dataclass(frozen=True)
class ScoredModel:
    """A base model and the adapter that training will start from.

    Attributes:
        model: Both, in evaluation mode.
        values: Name -> element values to score, float32, views of the adapter's matrices.
        raw_rank: Of a rank-2r adapter (`elements.rank_doubling`), the rank of the raw part; None
            for a plain adapter.
        step0_difference: Largest change of a logit by the adapter.
        step0_largest: Largest absolute logit of the base model.
        notes: Sentences for the manifest.
    """

    model: PeftModel
    values: dict[str, torch.Tensor]
    raw_rank: int | None
    step0_difference: float
    step0_largest: float
    notes: list[str]


def create_scored_model(
    student: Student,
    systems: Sequence[EncodedSystem],
    options: ScoreOptions,
    processes: Processes,
    progress: Progress,
) -> ScoredModel:
    """Loads the base model, creates the adapter and measures its effect on the function.

    Args:
        systems: What inits that need data get, and what packing and function are checked on.

    Raises:
        UsageError: The base model cannot lie where the options say.
        LoraparError: The model cannot be loaded, the init refuses these settings, or the model
            does not support packing.
    """
    notes: list[str] = []
    placement = find_placement(
        options.shard, options.device_map, options.quantize, processes, notes
    )
    progress(Advance("loading the base model"))
    base = load_placed(
        student.base,
        placement,
        options.dtype,
        options.trust_remote_code,
        options.quantize,
        options.attention,
    )
    progress(Advance(f"creating the adapter, init {options.init}"))
    data, used = _init_data(student, systems, options)
    notes += used
    model = create_adapter(
        base,
        r=options.r,
        lora_alpha=options.lora_alpha,
        target_modules=list(options.target_modules),
        init=options.init,
        init_scale=options.init_scale,
        seed=options.seed,
        data=data,
    ).eval()
    # Sums over data on GPUs do not end in the same digits in every process.
    processes.copy_from_main(p.data for p in adapter_parameters(model).values())
    if experts := stacked_experts(model):
        notes.append(f"{experts} and have no elements in the adapter")
    pad_token_id = student.tokenizer.pad_token_id
    if options.packing:
        every = [sample for each in systems for sample in each.samples]
        check_packing(model, every, pad_token_id)
    difference, largest = step0_difference(model, systems[0].samples[:_STEP0_SAMPLES], pad_token_id)
    if difference > _STEP0_ROUNDING * max(largest, 1):
        notes.append(
            f"init `{options.init}` changes the base model's function at step 0: logits by up "
            f"to {difference:.1e}, where the largest logit is {largest:.1f}"
        )
    raw_rank = options.r if changes_base(options.init) else None
    return ScoredModel(model, scored_values(model, raw_rank), raw_rank, difference, largest, notes)


def _init_data(
    student: Student, systems: Sequence[EncodedSystem], options: ScoreOptions
) -> tuple[InitData | None, list[str]]:
    """Returns the input of an init that needs one, else None, and notes on it."""
    pad_token_id = student.tokenizer.pad_token_id
    if options.init in NEEDS_SAMPLES:
        chosen = choose_samples([each.samples for each in systems], options.seed)
        note = f"init `{options.init}` used {counted(len(chosen), 'sample')}, half from each system"
        return InitData(chosen, pad_token_id), [note]
    if options.init == "loftq":
        note = (
            "init `loftq` corrects the 4-bit weights: train, evaluate and load the adapter with "
            "4-bit weights (`--quantize 4bit`)"
        )
        whole = load_base(student.base, options.dtype, options.trust_remote_code, keep_on_cpu=True)
        return InitData([], pad_token_id, whole), [note]
    return None, []

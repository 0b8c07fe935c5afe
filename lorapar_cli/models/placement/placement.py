"""Where a base model lies, and what of that is refused."""

from dataclasses import dataclass

from lorapar_cli.errors import UsageError
from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.placement.engines import Engine, requested_engine, require_one_process


@dataclass(frozen=True)
class Placement:
    """Where a base model lies; without either, whole on this process's device.

    Attributes:
        processes: Among which FSDP2 divides it; None where each process holds all of it.
        device_map: Whether its layers are distributed over the GPUs of this process.
    """

    processes: Processes | None = None
    device_map: bool = False


WHOLE = Placement()


def find_placement(
    shard: bool,
    device_map: str | None,
    quantize: str | None,
    processes: Processes,
    notes: list[str],
) -> Placement:
    """Returns where the base model is to lie, by the options and what the launcher requested.

    Args:
        shard, device_map: As given.
        quantize: As given; None for the weights as they are.
        notes: Where a sentence for the manifest is added.

    Raises:
        UsageError: The options contradict each other or the launch.
        LoraparError: The launcher requested an engine that no stage supports.
    """
    engine = requested_engine()
    if shard and processes.count == 1:
        raise UsageError(
            "`--shard` divides the base model over processes, and this is one",
            hint="launch several: `torchrun --nproc_per_node N -m lorapar_cli ...`; one process "
            "uses all GPUs of its machine with `--device-map auto`",
        )
    sharded = processes.count > 1 and (shard or engine.divides_parameters)
    require_one_process(device_map, processes.count, "omit the launcher, or use `--shard` instead")
    if sharded and quantize is not None:
        raise UsageError(
            "a quantised base model cannot be sharded",
            f"`--quantize {quantize}`",
            "omit `--quantize`, or use `--device-map auto` in one process",
        )
    if not sharded:
        return Placement(device_map=device_map is not None)
    note = f"FSDP2 sharded the base model over {processes.count} processes"
    if engine is Engine.ZERO3:
        note += f"; {engine} was requested, whose weights are divided alike"
    notes.append(note)
    return Placement(processes)

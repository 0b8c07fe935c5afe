"""What options on speed and placement need, checked before a model is loaded."""

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.placement.engines import Engine, require_one_process
from lorapar_cli.training.speed.options import SpeedOptions


def require_placement(options: SpeedOptions, engine: Engine, processes: int) -> None:
    """Checks that the base model can lie where the options want it.

    Args:
        engine: What the launcher requested.
        processes: Number that it started.

    Raises:
        LoraparError: The engine divides the model itself.
        UsageError: Several processes would each want all GPUs.
    """
    if options.device_map is None:
        return
    require_one_process(options.device_map, processes)
    if engine.sharded:
        raise LoraparError(
            f"`--device-map {options.device_map}` cannot be used under {engine}",
            f"{engine} decides itself where parameters lie",
            "omit the launcher, or `--device-map`",
        )

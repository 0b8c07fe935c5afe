"""Options of both training stages on how a step is computed and where."""

from dataclasses import dataclass

from lorapar_cli.model_options import device_map_option
from lorapar_cli.names import DeviceMap
from lorapar_cli.options import Options


@dataclass(frozen=True, kw_only=True)
class SpeedOptions(Options):
    """Options on how a step is computed and where; no number depends on them beyond rounding."""

    device_map: DeviceMap | None = device_map_option()

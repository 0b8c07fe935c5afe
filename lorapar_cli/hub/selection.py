"""Which records a training stage trains on: its own system's, replayed ones, or a file's."""

from collections.abc import Callable
from pathlib import Path

from lorapar_cli.core.mixing import mix_replay
from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.hub.datasets import open_source
from lorapar_cli.names import System
from lorapar_cli.store.records import Record, read_records

_OTHER = {System.SYSTEM1: System.SYSTEM2, System.SYSTEM2: System.SYSTEM1}
ALL = "all"


def training_files(splits: Path, data: str, replay: float) -> dict[str, Path]:
    """Returns name -> file of what `--data` and `--replay` make a stage read, its own first.

    Args:
        splits: Folder with system1.jsonl and system2.jsonl.
        data: `system1`, `system2`, `all`, or a file in any format that `classify` reads.
        replay: Share of the other system's records; 0 for none.

    Raises:
        UsageError: Replay was asked for where there is no other system.
    """
    if data == ALL:
        files = {system.value: splits / f"{system}.jsonl" for system in System}
    elif data in tuple(System):
        files = {data: splits / f"{data}.jsonl"}
    else:
        files = {"data": Path(data)}
    if replay:
        if data not in tuple(System):
            raise UsageError(
                "`--replay` takes records of the other system, and there is none here",
                f"`--data` is {data}",
                "leave `--replay` out, or train on `system1` or `system2`",
            )
        other = _OTHER[System(data)]
        files[other.value] = splits / f"{other}.jsonl"
    return files


def read_training_records(
    files: dict[str, Path],
    replay: float,
    seed: int,
    keep: Callable[[list[Record], Path], list[Record]] = lambda records, _: records,
) -> list[Record]:
    """Returns the records to train on, replayed ones behind the stage's own.

    Args:
        files: What `training_files` returned.
        keep: Leaves out of a file's records those that the stage cannot use.

    Raises:
        LoraparError: A file holds nothing to train on.
    """
    parts = []
    for name, path in files.items():
        read = list(open_source(str(path)).records()) if name == "data" else read_records(path)
        if not read:
            raise LoraparError(
                "there is nothing to train on",
                f"`{path}` is empty",
                "label more data, or ask other teachers, with `lorapar classify`",
            )
        parts.append(keep(read, path))
    if replay:
        return mix_replay(parts[0], parts[1], replay, seed)
    return [record for part in parts for record in part]

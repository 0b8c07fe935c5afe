"""Short runs of both training stages, what they change, and how they are killed."""

import json

import numpy as np

from lorapar_cli.events import Advance
from lorapar_cli.names import ADAPTER_WEIGHTS, Artifact, Flag, Stage
from lorapar_cli.store.mask_file import active_elements, read_mask
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.tensor_files import layout_fingerprint, read_tensors, write_tensors
from lorapar_cli.training.options import RlOptions, SftOptions

SFT = SftOptions(
    learning_rate=1e-2,
    max_steps=4,
    per_device_batch_size=2,
    gradient_accumulation=2,
    weight_decay=0.1,
    max_grad_norm=0.1,
    save_steps=1,
    forgetting=False,
)
# A random model is never right: `length`, of the fixture `reward_with_spread`, distinguishes its
# completions.
RL = RlOptions(
    learning_rate=1e-2,
    max_steps=3,
    per_device_batch_size=4,
    gradient_accumulation=2,
    num_generations=4,
    max_completion_length=12,
    weight_decay=0.1,
    max_grad_norm=0.1,
    save_steps=1,
    rewards="format-soft,length",
    forgetting=False,
)


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def kill_at(step: int):
    """Returns a progress callback that stops the process once `step` is logged."""

    def progress(event):
        if isinstance(event, Advance) and event.total and event.done >= step:
            raise Killed

    return progress


def adapter(run_dir: RunDir, stage: Stage) -> dict[str, np.ndarray]:
    """Returns the tensors of a stage's adapter."""
    return read_tensors(run_dir.folder(stage) / Artifact.ADAPTER / ADAPTER_WEIGHTS)[0]


def adapter_bytes(run_dir: RunDir, stage: Stage) -> bytes:
    """Returns the file of a stage's adapter weights."""
    return (run_dir.folder(stage) / Artifact.ADAPTER / ADAPTER_WEIGHTS).read_bytes()


def active(run_dir: RunDir, flag: Flag) -> dict[str, np.ndarray]:
    """Returns the elements that the run's mask activates in a stage."""
    flags, _ = read_mask(run_dir.folder(Stage.PARTITION) / Artifact.MASK)
    return active_elements(flags, flag)


def moved(run_dir: RunDir, before: Stage, after: Stage, flag: Flag) -> tuple[int, int]:
    """Counts (active, frozen) elements whose bytes differ; a restatement without torch."""
    was, now, chosen = adapter(run_dir, before), adapter(run_dir, after), active(run_dir, flag)
    active_moved = frozen_moved = 0
    for name, start in was.items():
        differ = start.view(np.uint32) != now[name].view(np.uint32)
        active_moved += int((differ & chosen[name]).sum())
        frozen_moved += int((differ & ~chosen[name]).sum())
    return active_moved, frozen_moved


def write_mask(path, flags: dict[str, np.ndarray]) -> None:
    """Writes a mask file that fits nothing but its own layout."""
    fingerprint = layout_fingerprint({name: tensor.shape for name, tensor in flags.items()})
    write_tensors(path, flags, {"fingerprint": fingerprint})


def lines(run_dir: RunDir, stage: Stage, name: Artifact) -> list[dict]:
    """Returns the objects of a stage's JSON Lines file."""
    text = (run_dir.folder(stage) / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]

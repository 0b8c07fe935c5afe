"""Runs a command line of lorapar under FSDP on CPUs; for tests only.

accelerate honours a request for FSDP on GPUs only. Here its state is set to what was requested;
everything that follows (the mesh, the division of parameters, the steps) is the library's own.
"""

import os
import sys

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

_initialise = AcceleratorState.__init__


def _with_fsdp(self, *args, fsdp_plugin=None, **kwargs):
    _initialise(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None:
        self.distributed_type = DistributedType.FSDP
        PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin


def _die_after(step: int) -> None:
    """Ends every process as a kill would, as soon as the checkpoint of that step is complete."""
    import torch

    from lorapar_cli.training.callbacks import StageCallback

    on_save = StageCallback.on_save

    def save_and_die(self, args, state, control, **kwargs):
        on_save(self, args, state, control, **kwargs)
        if state.global_step == step:
            torch.distributed.barrier()
            os._exit(9)

    StageCallback.on_save = save_and_die


def _train_in_bfloat16() -> None:
    """Makes the trainers compute as they do on GPUs."""
    from lorapar_cli.training import grpo, sft

    for module in (sft, grpo):
        common = module.common_arguments
        module.common_arguments = lambda *a, common=common: common(*a) | {"bf16": True}


if __name__ == "__main__":
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        AcceleratorState.__init__ = _with_fsdp
    if "DIE_AFTER_STEP" in os.environ:
        _die_after(int(os.environ["DIE_AFTER_STEP"]))
    if "BFLOAT16" in os.environ:
        _train_in_bfloat16()
    from lorapar_cli.cli.main import main

    main(sys.argv[1:])

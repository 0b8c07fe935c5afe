"""State of optimizers that own whole matrices, in a form that checkpoints can hold."""

from typing import Any

import torch


class Layerwise(torch.optim.Optimizer):
    """Optimizers of one matrix each, which step as soon as its gradient is there.

    Their groups are shared with this one, so that schedules act on them, and checkpoints hold the
    state of each; its own step does nothing.

    Differs: transformers' layer-wise optimizers neither save their state nor follow a schedule that
    was resumed.
    """

    def __init__(self, each: list[torch.optim.Optimizer]) -> None:
        self.each = each
        super().__init__(self._groups_of_each(), {})
        self._share()
        for optimizer in each:
            (parameter,) = optimizer.param_groups[0]["params"]
            parameter.register_post_accumulate_grad_hook(_stepping(optimizer))

    def _groups_of_each(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.each for group in optimizer.param_groups]

    def _share(self) -> None:
        self.param_groups = self._groups_of_each()

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of each."""
        return {"each": [optimizer.state_dict() for optimizer in self.each]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what `state_dict` returned."""
        for optimizer, part in zip(self.each, state_dict["each"], strict=True):
            optimizer.load_state_dict(part)
        self._share()

    def step(self, closure=None) -> None:
        """Does nothing: every matrix has been stepped on."""


def _stepping(optimizer: torch.optim.Optimizer):
    def step(parameter: torch.nn.Parameter) -> None:
        optimizer.step()
        parameter.grad = None

    return step


def keep_projectors(optimizer: torch.optim.Optimizer) -> None:
    """Makes checkpoints hold the tensors and numbers of projectors in place of the objects.

    Checkpoints are read without unpickling objects, so that one that holds any cannot be resumed.
    """

    def to_plain(_, content: dict) -> dict:
        content["state"] = {
            key: {k: _plain(v) if k == "projector" else v for k, v in state.items()}
            for key, state in content["state"].items()
        }
        return content

    def to_objects(*_) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                state = optimizer.state.get(parameter, {})
                if isinstance(saved := state.get("projector"), dict):
                    state["projector"] = _new_projector(optimizer, group, state)
                    vars(state["projector"]).update(saved)

    optimizer.register_state_dict_post_hook(to_plain)
    # bitsandbytes' optimizers, on which one of GaLore's is built, run no hooks when they load.
    optimizer.register_step_pre_hook(to_objects)


def _new_projector(optimizer: torch.optim.Optimizer, group: dict, state: dict):
    if hasattr(optimizer, "_initialize_projector"):
        return optimizer._initialize_projector(group, state)
    from galore_torch.galore_projector import GaLoreProjector

    keys = ("update_proj_gap", "scale", "proj_type")
    return GaLoreProjector(group["rank"], **{key: group[key] for key in keys})


def _plain(projector) -> dict[str, Any]:
    """Returns what a projector has learnt; its settings, texts among them, are in the group."""
    return {k: v for k, v in vars(projector).items() if not isinstance(v, str | None)}


def match_grokadamw(optimizer: torch.optim.Optimizer) -> None:
    """Gives state that was loaded to the parameters it belongs to.

    GrokAdamW keeps it in its groups, under the parameters themselves, which are others after a
    restart.
    """
    for group in optimizer.param_groups:
        if state := group.get("state"):
            group["state"] = dict(zip(group["params"], state.values(), strict=True))


def make_lomo(optimizer_class: type, arguments: dict[str, Any], weight_decay: float):
    """Returns LOMO or AdaLomo, whose state, outside of the usual place, is in checkpoints too."""
    optimizer = optimizer_class(**arguments, weight_decay=weight_decay)
    moments = [k for k in vars(optimizer) if k.startswith("exp_avg_sq")]
    trained = {n for n, p in arguments["model"].named_parameters() if p.requires_grad}

    def save(_, content: dict) -> dict:
        kept = {
            k: {n: t for n, t in getattr(optimizer, k).items() if n in trained} for k in moments
        }
        return content | {"lomo": kept, "step_num": getattr(optimizer, "step_num", 0)}

    def load(_, content: dict) -> None:
        for k, tensors in content["lomo"].items():
            for n, tensor in tensors.items():
                getattr(optimizer, k)[n].copy_(tensor)
        optimizer.step_num = content["step_num"]

    optimizer.register_state_dict_post_hook(save)
    optimizer.register_load_state_dict_pre_hook(load)
    return optimizer

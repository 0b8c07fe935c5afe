"""What happens beside the steps: memory that a dry run tells, early stops, whole checkpoints."""

from types import SimpleNamespace

import torch
from transformers import TrainerControl, TrainerState

from lorapar_cli.events import silent
from lorapar_cli.training.callbacks import StageCallback, ZeroSpreadMonitor
from lorapar_cli.training.dry_run import memory_bytes


def build_model():
    model = torch.nn.Module()
    model.base = torch.nn.Linear(10, 10, bias=False)
    model.x = torch.nn.ModuleDict({"lora_A": torch.nn.Linear(10, 2, bias=False)})
    model.base.weight.requires_grad_(False)
    return model


def test_bytes_of_whole_matrices():
    model = build_model()
    owned = torch.nn.Parameter(torch.zeros(5))
    found = memory_bytes(model, torch.optim.SGD([owned]))
    assert list(found.values()) == [400, 80, 80, 40, 40]


def test_bytes_of_matrices_that_zero_3_has_emptied():
    """There `numel` is 0 and the size before dividing is in `ds_numel`."""
    model = build_model()
    for parameter in model.parameters():
        parameter.ds_numel = parameter.numel()
        parameter.data = torch.empty(0)
    part = torch.nn.Parameter(torch.zeros(0))
    found = memory_bytes(model, torch.optim.SGD([part]))
    assert list(found.values()) == [400, 80, 80, 160, 160]


def flat_steps(flags, seen=(), patience=3):
    """Returns the step at which a run over `flags` stops, None where it does not, and its notes."""
    notes = []
    callback = ZeroSpreadMonitor(patience, True, notes, silent)
    control = TrainerControl()
    history = [{"frac_reward_zero_std": float(flag)} for flag in seen]
    state = TrainerState(global_step=len(seen), max_steps=100, log_history=history)
    callback.on_train_begin(None, state, control)
    if control.should_training_stop:
        return state.global_step, notes
    for flag in flags[len(seen) :]:
        state.global_step += 1
        callback.on_log(None, state, control, logs={"frac_reward_zero_std": float(flag)})
        if control.should_training_stop:
            return state.global_step, notes
    return None, notes


def test_a_resumed_run_stops_for_lack_of_spread_where_a_straight_one_does():
    flags = [1, 1, 0, 1, 1, 1, 0]
    straight, notes = flat_steps(flags)
    assert straight == 6
    assert len(notes) == 1
    for resumed_at in range(1, 7):
        assert flat_steps(flags, seen=flags[:resumed_at]) == (straight, notes)
    assert flat_steps([1, 1, 0, 1, 1]) == (None, [])


def test_a_checkpoint_counts_only_once_every_process_has_written_its_part(tmp_path):
    order = []

    class Log:
        def append(self, lines):
            pass

    folder = tmp_path / "checkpoint-4"
    folder.mkdir()

    def wait():
        order.append(sorted(path.name for path in folder.iterdir()))
        (folder / "rng_state_1.pth").write_bytes(b"of the other process")

    callback = StageCallback(Log(), "train-rl", {}, silent, wait)
    arguments = SimpleNamespace(output_dir=str(tmp_path))
    callback.on_save(arguments, TrainerState(global_step=4), TrainerControl())
    assert order == [[]]
    assert "rng_state_1.pth" in (folder / "complete").read_text()

"""What happens besides the steps: metrics, early stops, complete checkpoints."""

import json
import math
from types import SimpleNamespace

import pytest
from transformers import TrainerControl, TrainerState

from lorapar_cli.errors import LoraparError
from lorapar_cli.events import silent
from lorapar_cli.store.checkpoints import mark_complete, read_mark
from lorapar_cli.store.step_log import StepLog
from lorapar_cli.training.callbacks import GradientMonitor, StageCallback, ZeroSpreadMonitor


def log_steps(callback, *logs, folder="checkpoints"):
    for step, each in enumerate(logs, 1):
        state = TrainerState(global_step=step, max_steps=5)
        arguments = SimpleNamespace(output_dir=str(folder))
        callback.on_log(arguments, state, TrainerControl(), logs=each)


def test_every_step_is_written_and_shown_but_not_the_closing_summary(tmp_path):
    events = []
    logs = {"metrics.jsonl": StepLog(tmp_path / "metrics.jsonl")}
    shown = {"loss": "loss", "kl": "kl"}
    callback = StageCallback(logs, "d", "train-sft", shown, events.append, None)
    log_steps(
        callback, {"loss": 0.5, "grad_norm": math.nan}, {"reward": 1.0}, {"train_runtime": 9.0}
    )
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert written == [{"step": 1, "loss": 0.5}, {"step": 2, "reward": 1.0}]
    assert [(event.task, event.done, event.total) for event in events] == [
        ("train-sft", 1, 5),
        ("train-sft", 2, 5),
    ]
    # The last figure is the memory of this machine.
    assert [event.figures[:-1] for event in events] == [["loss 0.5"], []]


@pytest.mark.parametrize("main", [True, False])
def test_a_loss_that_is_not_finite_ends_the_run_in_every_process(tmp_path, main):
    logs = {"metrics.jsonl": StepLog(tmp_path / "metrics.jsonl")} if main else {}
    callback = StageCallback(logs, "d", "train-sft", {}, silent, None)
    with pytest.raises(LoraparError, match="loss is nan in step 1"):
        log_steps(callback, {"loss": math.nan})


@pytest.mark.parametrize("saved", [True, False])
def test_a_checkpoint_is_named_only_where_there_is_one(tmp_path, saved):
    if saved:
        checkpoint = tmp_path / "checkpoints" / "checkpoint-1"
        checkpoint.mkdir(parents=True)
        mark_complete(checkpoint, "d", {})
    callback = StageCallback({}, "d", "train-sft", {}, silent, None)
    with pytest.raises(LoraparError) as caught:
        log_steps(callback, {"loss": math.inf}, folder=tmp_path / "checkpoints")
    assert ("last checkpoint" in caught.value.hint) is saved
    assert "lower `--learning-rate`" in caught.value.hint


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
    log = StepLog(tmp_path / "metrics.jsonl")
    log.append([{"step": 4}])
    folder = tmp_path / "checkpoint-4"
    folder.mkdir()

    def wait():
        order.append(sorted(path.name for path in folder.iterdir()))
        (folder / "rng_state_1.pth").write_bytes(b"of the other process")

    callback = StageCallback({"metrics.jsonl": log}, "digest", "train-rl", {}, silent, wait)
    arguments = SimpleNamespace(output_dir=str(tmp_path))
    callback.on_save(arguments, TrainerState(global_step=4), TrainerControl())
    assert order == [[]]
    mark = read_mark(folder)
    assert list(mark.files) == ["rng_state_1.pth"]
    assert mark.belongs_to == "digest"
    assert mark.logs == {"metrics.jsonl": log.state()}


@pytest.mark.parametrize(
    ("norms", "seen", "note"),
    [
        ([0.0, 0.0, 0.3], 0, "2 of 3 steps had no gradient and learnt nothing"),
        ([0.0, 0.0, 0.3], 2, "2 of 3 steps had no gradient and learnt nothing"),
        ([0.0, 0.2], 0, None),
        ([math.nan, 0.2], 1, None),
        ([], 0, None),
    ],
)
def test_most_steps_without_a_gradient_are_noted(norms, seen, note):
    monitor, notes = GradientMonitor(), []
    history = [{"grad_norm": norm} for norm in norms]
    state = TrainerState(global_step=seen, log_history=history[:seen])
    monitor.on_train_begin(None, state, TrainerControl())
    for entry in history[seen:]:
        monitor.on_log(None, state, TrainerControl(), logs=entry)
    monitor.conclude(notes)
    assert notes == ([note] if note else [])


def conclude(*logs):
    monitor, notes = GradientMonitor(), []
    for entry in logs:
        monitor.on_log(None, TrainerState(), TrainerControl(), logs=entry)
    monitor.conclude(notes)
    return notes


def test_the_gradient_of_the_divergence_alone_learns_nothing():
    flat, apart = ({"frac_reward_zero_std": share} for share in (1.0, 0.5))
    # The third step is a second one on the completions of the second.
    steps = [flat | {"grad_norm": 0.0}, flat | {"grad_norm": 1e-7}, {"grad_norm": 0.01}]
    with pytest.raises(LoraparError, match="no step had a gradient from rewards") as caught:
        conclude(*steps)
    assert "2 of them had the gradient of the KL divergence alone" in caught.value.found
    taught = apart | {"grad_norm": 0.01}
    assert conclude(*steps, taught) == [
        "3 of 4 steps had no gradient from rewards and learnt nothing"
    ]
    assert conclude(taught, {"grad_norm": 0.01}, steps[0]) == []


def test_no_step_with_a_gradient_is_an_error():
    monitor = GradientMonitor()
    for _ in range(2):
        monitor.on_log(None, TrainerState(), TrainerControl(), logs={"grad_norm": 0.0})
    with pytest.raises(LoraparError, match="no step had a gradient") as caught:
        monitor.conclude([])
    assert "2 steps" in caught.value.found

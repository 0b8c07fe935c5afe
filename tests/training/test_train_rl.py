"""`train-rl`: frozen elements are bit-identical, active ones move, rewards are checked and logged."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lorapar_cli.errors import Diverged, LearntNothing, LoraparError, UsageError
from lorapar_cli.events import Note
from lorapar_cli.names import Artifact, Flag, Stage
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import partition
from lorapar_cli.stage_records.training import RlRecord
from lorapar_cli.tools.next_step import next_step
from lorapar_cli.tools.run_status import run_status
from lorapar_cli.training.rewards.builtin import REWARDS
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft
from tests.training.training_runs import RL, SFT, Killed, kill_at, lines, moved

pytestmark = pytest.mark.usefixtures("reward_with_spread")

FROM_INIT = replace(RL, from_="init")
PROGRAM = {
    "task_id": "t/0",
    "prompt": "def one():\n",
    "canonical_solution": "    return 1\n",
    "test": "def check(candidate):\n    assert candidate() == 1\n",
    "entry_point": "one",
}


@pytest.mark.parametrize("kl_beta", [0.0, 0.1])
def test_active_elements_move_and_no_other(run_dir, kl_beta):
    train_sft(run_dir, SFT)
    manifest = train_rl(run_dir, replace(RL, kl_beta=kl_beta)).manifest
    active_moved, frozen_moved = moved(run_dir, Stage.TRAIN_SFT, Stage.TRAIN_RL, Flag.RL)
    assert frozen_moved == 0
    assert active_moved > 0
    completions = lines(run_dir, Stage.TRAIN_RL, Artifact.COMPLETIONS)
    assert len(completions) == 3 * 8
    assert set(completions[0]["rewards"]) == {"format-soft", "length"}
    assert manifest.record(RlRecord).metrics["reward"] > 0
    assert list(manifest.counts) == [
        *("records", "trained_records", "elements", "active", "active_moved", "frozen_moved")
    ]
    assert list(manifest.metrics) == [
        *("processes", "engine", "steps", "reward", "clipped", "learning_rate"),
        "learning_rate_from",
    ]


def test_the_manifest_holds_every_option_that_decides_and_none_of_how_it_ran(run_dir):
    settings = train_rl(run_dir, replace(FROM_INIT, max_steps=1)).manifest.settings
    assert set(settings) == {
        *("learning_rate", "epochs", "max_steps", "per_device_batch_size", "scheduler", "warmup"),
        *("gradient_accumulation", "num_generations", "temperature", "kl_beta", "rewards"),
        *("weight_decay", "adam_beta2", "max_grad_norm", "optimizer", "max_prompt_length"),
        *("max_completion_length", "replay", "gradient_checkpointing", "save_steps", "dtype"),
        *("quantize", "data", "vllm", "patience_steps", "stop_without_spread", "report_to"),
        *("seed", "template", "template_arg", "training", "model"),
        *(
            "code_packages",
            "code_timeout",
            "code_memory",
            "replay_source",
            "sample_batch_size",
            "find_lr",
            "find_lr_steps",
        ),
        *("refill", "refill_limit", "min_pass", "max_pass", "pass_samples"),
        *("forgetting", "watch", "eval_steps", "validation", "keep", "stop_after"),
        *("eval_match", "eval_max_new_tokens", "eval_batch_size", "attention"),
        *("compile", "liger"),
    }


def test_order_may_be_reversed(run_dir):
    """The paper's Table 7: GRPO first, from the scored adapter, then SFT from its result."""
    train_rl(run_dir, FROM_INIT)
    train_sft(run_dir, replace(SFT, from_="rl"))
    active_moved, frozen_moved = moved(run_dir, Stage.TRAIN_RL, Stage.TRAIN_SFT, Flag.SFT)
    assert frozen_moved == 0
    assert active_moved > 0


def test_the_template_of_sft_is_used_again(run_dir, tmp_path):
    text = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}[assistant]"
    (tmp_path / "mine.jinja").write_text(text)
    train_sft(run_dir, replace(SFT, template=tmp_path / "mine.jinja"))
    assert train_rl(run_dir, RL).manifest.settings["template"] == text


def test_stale_mask_is_refused(run_dir):
    train_sft(run_dir, SFT)
    partition(run_dir, PartitionOptions(theta=0.7))
    with pytest.raises(LoraparError, match="stale") as caught:
        train_rl(run_dir, RL)
    assert "mask" in caught.value.found


@pytest.mark.parametrize(
    "reward",
    [lambda texts, _: [1.0] * len(texts), lambda texts, answers: [float(a or 0) for a in answers]],
    ids=["constant", "of the prompt alone"],
)
def test_a_run_without_a_gradient_is_an_error_whatever_decays(run_dir, monkeypatch, reward):
    monkeypatch.setitem(REWARDS, "length", reward)
    options = replace(FROM_INIT, rewards="length", weight_decay=0.5, max_steps=3)
    with pytest.raises(LoraparError, match="no step had a gradient"):
        train_rl(run_dir, options)
    assert run_dir.manifest(Stage.TRAIN_RL) is None


def test_completions_cut_off_are_counted_and_named(run_dir):
    manifest = train_rl(run_dir, replace(FROM_INIT, max_completion_length=3)).manifest
    assert manifest.metrics["clipped"] > 0.5
    (note,) = [note for note in manifest.notes if "cut off" in note]
    assert "at 3 tokens; raise `--max-completion-length`" in note


def test_a_run_whose_completions_are_all_cut_off_names_that(run_dir):
    with pytest.raises(LoraparError, match="no step had a gradient") as caught:
        train_rl(run_dir, replace(FROM_INIT, max_completion_length=1))
    assert "of completions were cut off" in caught.value.found
    assert "raise `--max-completion-length`" in caught.value.hint


def test_the_spread_of_a_step_is_that_within_its_groups(run_dir):
    train_rl(run_dir, FROM_INIT)
    completions = lines(run_dir, Stage.TRAIN_RL, Artifact.COMPLETIONS)
    for line in lines(run_dir, Stage.TRAIN_RL, Artifact.METRICS):
        rewards = [
            sum(one["rewards"].values()) for one in completions if one["step"] == line["step"]
        ]
        groups = np.array(rewards).reshape(-1, FROM_INIT.num_generations)
        assert line["reward_std_group"] == pytest.approx(groups.std(axis=1, ddof=1).mean())
        assert line["frac_reward_zero_std"] == (groups.std(axis=1) == 0).mean()


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (lambda texts, _: [float("nan")] * len(texts), "returned nan"),
        (lambda texts, _: [1.0], "returned 1 value for"),
        (lambda texts, _: 1 / 0, "failed"),
    ],
)
def test_reward_that_fails_is_named(run_dir, monkeypatch, broken, expected):
    monkeypatch.setitem(REWARDS, "length", broken)
    with pytest.raises(LoraparError, match=f"`length` {expected}"):
        train_rl(run_dir, FROM_INIT)


def test_flat_rewards_are_noted_and_stop_the_run_if_asked(run_dir, monkeypatch):
    calls = []

    def flat_after_one(texts, _):
        calls.append(texts)
        return [len(text) if len(calls) == 1 else 1.0 for text in texts]

    monkeypatch.setitem(REWARDS, "length", flat_after_one)
    options = replace(
        FROM_INIT, max_steps=9, rewards="length", patience_steps=2, stop_without_spread=True
    )
    manifest = train_rl(run_dir, options).manifest
    assert manifest.metrics["steps"] == 3
    assert any("no group of completions had a spread" in note for note in manifest.notes)
    assert "2 of 3 steps had no gradient and learnt nothing" in manifest.notes


def test_reward_may_be_a_users_function(run_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_rewards.py").write_text(
        "def short(completions, references):\n    return [1 / (1 + len(c)) for c in completions]\n"
    )
    manifest = train_rl(run_dir, replace(FROM_INIT, rewards="my_rewards.short=2")).manifest
    assert manifest.counts["active_moved"] > 0
    (first, *_) = lines(run_dir, Stage.TRAIN_RL, Artifact.COMPLETIONS)
    assert 0 < first["rewards"]["my_rewards.short"] <= 1
    with pytest.raises(UsageError, match="nope"):
        train_rl(run_dir, replace(FROM_INIT, rewards="my_rewards.nope"))


def test_code_reward_needs_permission_and_reads_the_tests_of_the_data(run_dir, tmp_path):
    path = tmp_path / "programs.jsonl"
    path.write_text(json.dumps(PROGRAM) + "\n")
    options = replace(FROM_INIT, data=str(path), rewards="code,length", max_steps=1)
    allowed = replace(options, unsafe_code_execution=True)
    with pytest.raises(LoraparError, match="1 record is fewer than the 2 prompts"):
        train_rl(run_dir, allowed)
    path.write_text((json.dumps(PROGRAM) + "\n") * 2)
    with pytest.raises(UsageError, match="runs programs"):
        train_rl(run_dir, options)
    manifest = train_rl(run_dir, allowed).manifest
    assert manifest.counts["trained_records"] == 2
    completions = lines(run_dir, Stage.TRAIN_RL, Artifact.COMPLETIONS)
    assert {line["rewards"]["code"] for line in completions} <= {0.0, 1.0}


def test_records_without_a_reference_are_left_out_and_counted(run_dir, tmp_path):
    path = tmp_path / "mine.jsonl"
    good = '{"question": "1+1?", "answer": "#### 2"}\n'
    path.write_text('{"prompt": "Hello?", "completion": "Well, hello there."}\n')
    options = replace(FROM_INIT, data=str(path), dry_run=True)
    with pytest.raises(LoraparError, match="nothing to train on") as caught:
        train_rl(run_dir, options)
    assert "1 record of `" in caught.value.found
    path.write_text(path.read_text() + good * 2)
    manifest = train_rl(run_dir, options).manifest
    assert manifest.counts["trained_records"] == 2
    assert any("1 of 3 records of mine.jsonl left out" in note for note in manifest.notes)


def test_records_with_tools_are_refused_by_name(run_dir, tmp_path):
    """GRPO renders prompts without tools, so that the model would be asked something else."""
    path = tmp_path / "tools.jsonl"
    messages = [{"role": "user", "content": "Time?"}, {"role": "assistant", "content": "12:30"}]
    tools = [{"type": "function", "function": {"name": "clock"}}]
    path.write_text(json.dumps({"id": "r7", "messages": messages, "tools": tools}) + "\n")
    with pytest.raises(LoraparError, match="cannot train on records with tools") as caught:
        train_rl(run_dir, replace(FROM_INIT, data=str(path), dry_run=True))
    assert caught.value.found == "record `r7` has tools or calls of tools"


@pytest.mark.parametrize("refill", [False, True])
def test_a_policy_that_is_not_finite_when_it_is_sampled_diverges(run_dir, refill):
    options = replace(FROM_INIT, learning_rate=1e20, max_grad_norm=0, warmup=0, refill=refill)
    with pytest.raises(Diverged, match="no token can be sampled"):
        train_rl(run_dir, options)
    assert run_dir.manifest(Stage.TRAIN_RL) is None


def test_a_sample_is_shown_now_and_then(run_dir):
    events = []
    train_rl(run_dir, FROM_INIT, progress=events.append)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert any(note.startswith("step 1, a completion of `s2-") for note in notes)


def test_checkpoints_within_one_generation_are_refused(run_dir):
    twice = replace(FROM_INIT, save_steps=1, training=("num_iterations=2",))
    with pytest.raises(UsageError, match="falls within one generation") as caught:
        train_rl(run_dir, twice)
    assert caught.value.hint == "give a multiple of 2"
    assert run_dir.manifest(Stage.TRAIN_RL) is None
    outcome = train_rl(run_dir, replace(twice, save_steps=2, overwrite=True))
    assert outcome.manifest.counts["frozen_moved"] == 0


def test_a_finished_result_is_up_to_date(run_dir):
    options = replace(FROM_INIT, max_steps=1)
    assert train_rl(run_dir, options).fresh
    assert not train_rl(run_dir, replace(options, patience_steps=3, save_steps=7)).fresh


def test_a_constant_reward_is_an_error_with_a_divergence_too(run_dir, monkeypatch):
    monkeypatch.setitem(REWARDS, "length", lambda texts, _: [1.0] * len(texts))
    options = replace(FROM_INIT, max_steps=4, rewards="length", kl_beta=0.1, learning_rate=1e-2)
    with pytest.raises(LoraparError, match="learnt nothing: no step had a gradient from rewards"):
        train_rl(run_dir, options)


def test_status_says_why_a_training_ended_until_another_is_begun(run_dir, monkeypatch):
    options = replace(FROM_INIT, max_steps=2, rewards="length", save_steps=1)
    with monkeypatch.context() as patched:
        patched.setitem(REWARDS, "length", lambda texts, _: [1.0] * len(texts))
        for _ in range(2):  # A repeated command ends in the same way.
            with pytest.raises(LearntNothing) as caught:
                train_rl(run_dir, options)
    rows = run_status(run_dir)
    (row,) = [row for row in rows if row["stage"] == Stage.TRAIN_RL]
    assert row["state"] == "unfinished"
    assert row["what"] == f"logged to step 2; {caught.value.what}"
    step = next_step(run_dir, [row])
    assert "--overwrite" in step.command
    assert "resumes" not in step.why
    assert caught.value.hint in step.why
    other = replace(options, max_steps=4, overwrite=True)
    with pytest.raises(Killed):
        train_rl(run_dir, other, progress=kill_at(3))
    (row,) = [row for row in run_status(run_dir) if row["stage"] == Stage.TRAIN_RL]
    assert "learnt nothing" not in row["what"]
    assert "resumes" in next_step(run_dir, [row]).why
    train_rl(run_dir, replace(other, overwrite=False))
    assert not list(run_dir.folder(Stage.TRAIN_RL).glob("unfinished*"))

"""`--vllm async`, end to end against a real server on loopback that generates with our adapters."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import adapter_parameters
from lorapar_cli.models.rendering.tokenization import encode_prompt
from lorapar_cli.names import Artifact, Flag, Stage, System, split_file
from lorapar_cli.store.records import read_records
from lorapar_cli.training.rewards.builtin import REWARDS
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft
from tests.training.rollouts.local_server import LocalServer, serving
from tests.training.training_runs import RL, SFT, Killed, active, adapter, kill_at, lines, moved

pytestmark = pytest.mark.usefixtures("reward_with_spread")
ASYNC = replace(RL, vllm="async", max_completion_length=6, max_steps=3)


@pytest.fixture
def local(tiny_model_dir):
    eos = AutoTokenizer.from_pretrained(tiny_model_dir).eos_token_id
    return LocalServer(tiny_model_dir, eos)


@pytest.fixture
def options(local):
    with serving(local) as url:
        yield replace(ASYNC, training=(f"vllm_server_base_url={url}", "request_timeout=60"))


def test_the_server_writes_with_each_adapter_and_frozen_elements_stay(run_dir, local, options):
    train_sft(run_dir, SFT)
    manifest = train_rl(run_dir, options).manifest
    learnt, frozen = moved(run_dir, Stage.TRAIN_SFT, Stage.TRAIN_RL, Flag.RL)
    assert learnt
    assert not frozen
    assert manifest.counts["frozen_moved"] == 0
    assert manifest.metrics["steps"] == 3
    # One adapter before the first step and one after each, under names that never come again.
    assert [name.rsplit("-v")[1] for name in local.loaded] == ["1", "2", "3", "4"]
    assert len({name.rsplit("-v")[0] for name in local.loaded}) == 1
    assert {body["model"] for body in local.requests} <= set(local.loaded)
    assert not local.paused
    body = local.requests[0]
    assert (body["n"], body["max_tokens"], body["temperature"]) == (4, 6, 1.0)

    steps = lines(run_dir, Stage.TRAIN_RL, Artifact.METRICS)
    figures = [step for step in steps if "reward" in step]
    assert len(figures) == 3
    assert all(0 <= step["completions/clipped_ratio"] <= 1 for step in figures)
    # The server's probabilities are the trainer's: the first step learns from its own policy.
    assert figures[0]["ratio"] == pytest.approx(1, abs=1e-4)
    assert figures[0]["kl"] == pytest.approx(0, abs=1e-4)
    completions = lines(run_dir, Stage.TRAIN_RL, Artifact.COMPLETIONS)
    assert len(completions) >= 3 * 8
    assert set(completions[0]["rewards"]) == {"format-soft", "length"}
    assert not list(run_dir.folder(Stage.TRAIN_RL).rglob(".vllm_lora"))


def test_a_killed_run_resumes_behind_the_prompts_of_its_steps(run_dir, local, options):
    from_init = replace(options, from_="init", max_steps=4)
    with pytest.raises(Killed):
        train_rl(run_dir, from_init, progress=kill_at(2))
    before = len(local.loaded)
    manifest = train_rl(run_dir, from_init).manifest
    assert any("resumed an unfinished run" in note for note in manifest.notes)
    assert manifest.metrics["steps"] == 4
    assert manifest.counts["frozen_moved"] == 0
    # A server that still holds the first run's adapters is not asked to replace them.
    first, second = local.loaded[:before], local.loaded[before:]
    assert second
    assert not set(first) & set(second)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("token_ids", "does not tell tokens"),
        ("logprobs", "does not tell tokens"),
        ("refuse", "refuses to write"),
    ],
)
def test_a_server_that_is_none_of_vllms_ends_the_run(run_dir, local, options, broken, said):
    local.broken = broken
    with pytest.raises(LoraparError, match=said):
        train_rl(run_dir, replace(options, from_="init"))
    assert run_dir.manifest(Stage.TRAIN_RL) is None


def test_a_reward_that_fails_ends_the_run_with_its_name(run_dir, options, monkeypatch):
    monkeypatch.setitem(REWARDS, "length", lambda texts, _: [float("nan")] * len(texts))
    with pytest.raises(LoraparError, match="reward `length` returned nan"):
        train_rl(run_dir, replace(options, from_="init"))


def test_rewards_without_a_spread_are_an_error(run_dir, options, monkeypatch):
    monkeypatch.setitem(REWARDS, "length", lambda texts, _: [1.0] * len(texts))
    flat = replace(options, from_="init", rewards="length", weight_decay=0.5)
    with pytest.raises(LoraparError, match="no step had a gradient"):
        train_rl(run_dir, flat)


def test_a_step_is_that_of_a_naive_restatement(run_dir, tiny_model_dir, local, options):
    """One step of plain SGD moves active elements by minus the gradient of the policy loss."""
    sgd = {"optimizer": "sgd", "weight_decay": 0.0, "max_grad_norm": 1e9, "max_steps": 1}
    rate = {"learning_rate": 1.0, "scheduler": "constant", "warmup": 0.0}
    train_rl(run_dir, replace(options, from_="init", **sgd, **rate))
    trained = lines(run_dir, Stage.TRAIN_RL, Artifact.COMPLETIONS)[:8]

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
    folder = run_dir.folder(Stage.SCORE) / "adapter"
    model = PeftModel.from_pretrained(base, folder, is_trainable=True).eval()
    written = {
        (tuple(prompt), tokenizer.decode(tokens, skip_special_tokens=True)): tokens
        for prompt, tokens in local.written
    }
    prompts = {
        record.id: encode_prompt(tokenizer, record.prompt)
        for record in read_records(run_dir.folder(Stage.CLASSIFY) / split_file(System.SYSTEM2))
    }
    # Two groups of four, each a batch of its own, accumulated into one step.
    for group in (trained[:4], trained[4:]):
        rewards = np.array([sum(line["rewards"].values()) for line in group])
        advantages = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-4)
        loss, count = torch.zeros(()), 0
        for line, advantage in zip(group, advantages, strict=True):
            prompt = prompts[line["id"]]
            tokens = written[tuple(prompt), line["completion"]]
            logits = model(input_ids=torch.tensor([[*prompt, *tokens]])).logits[0]
            chosen = logits.log_softmax(-1)[len(prompt) - 1 : -1]
            loss = loss - advantage * chosen[range(len(tokens)), tokens].sum()
            count += len(tokens)
        (loss / count / 2).backward()
    before, after = adapter(run_dir, Stage.SCORE), adapter(run_dir, Stage.TRAIN_RL)
    chosen = active(run_dir, Flag.RL)
    for name, gradient in adapter_parameters(model).items():
        expected = np.where(chosen[name], -gradient.grad.numpy(), 0)
        np.testing.assert_allclose(after[name] - before[name], expected, rtol=1e-3, atol=1e-6)

"""Steps of SFT and GRPO against a restatement in float64 that uses neither TRL nor PEFT.

The restatement adds the adapter to the base weights, passes each sequence through the base model by
itself, so that nothing is padded, and takes the gradient of one loss over all tokens of a step, so
that nothing is accumulated. Clipping and AdamW are written out. It is given what a run drew: the
records of SFT, the tokens that GRPO sampled and the rewards they got.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch.func import functional_call
from transformers import AutoModelForCausalLM

from lorapar_cli.names import Artifact, Flag, Stage
from lorapar_cli.store.records import Record, write_records
from lorapar_cli.training.options import RlOptions, SftOptions, TrainingOptions
from lorapar_cli.training.rewards.builtin import REWARDS
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft
from tests.conftest import build_tokenizer
from tests.training.training_runs import active, adapter, lines

TOLERANCE = 1e-5
SCALING = 8 / 4
"""lora_alpha / r of the run that the tests start from."""
# So large that an element whose gradient is close to 0 takes no step of arbitrary sign.
EPSILON = 1e-3
STEPS = 3
# Epsilon of GRPO's clipping where completions are used twice.
CLIP = 0.02
COMMON = {
    "learning_rate": 2e-2,
    "scheduler": "constant",
    "warmup": 0.0,
    "weight_decay": 0.1,
    "max_steps": STEPS,
    "gradient_accumulation": 2,
    "training": (f"adam_epsilon={EPSILON}",),
}
SFT = SftOptions(**COMMON, per_device_batch_size=2, lora_dropout=0.0, max_grad_norm=0.05)
RL = RlOptions(
    **COMMON,
    per_device_batch_size=4,
    num_generations=4,
    max_completion_length=64,
    temperature=0.8,
    kl_beta=0.3,
    max_grad_norm=0.1,
    rewards="drawn=2",
)
ANSWERS = ["#### 3", "4+4=8.\n#### 8", "5", "Three apples and then four more.\n2+3+4=9\n#### 9"]


@dataclass(frozen=True)
class Sequence:
    """Token ids; those from `start` on were written by the model, or are to be learned."""

    ids: list[int]
    start: int


@dataclass(frozen=True)
class Sampled:
    """What one step of GRPO drew: sequences and rewards, those of a prompt next to each other."""

    sequences: list[Sequence]
    rewards: list[float]


class Restated:
    """The adapter as float64 tensors, the base model that it is added to, and AdamW's moments."""

    def __init__(self, folder, weights, chosen, options: TrainingOptions) -> None:
        self._base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
        self._options = options
        self._beta2 = getattr(options, "adam_beta2", 0.999)
        self._chosen = {name: torch.from_numpy(chosen[name]).double() for name in weights}
        self.weights = {
            name: torch.from_numpy(values).double().requires_grad_()
            for name, values in weights.items()
        }
        self._first = {name: torch.zeros_like(value) for name, value in self.weights.items()}
        self._second = {name: torch.zeros_like(value) for name, value in self.weights.items()}
        self._steps = 0

    def log_probabilities(self, sequence: Sequence, temperature: float = 1.0) -> torch.Tensor:
        """Returns log p of each token from the start on, given all before it."""
        merged = dict(self._base.named_parameters())
        for name, a in self.weights.items():
            if ".lora_A." in name:
                b = self.weights[name.replace(".lora_A.", ".lora_B.")]
                module = name.removeprefix("base_model.model.").replace(".lora_A.weight", "")
                merged[f"{module}.weight"] = merged[f"{module}.weight"] + SCALING * b @ a
        ids = torch.tensor([sequence.ids])
        logits = functional_call(self._base, merged, (ids,)).logits[0] / temperature
        every = logits[:-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        return every[sequence.start - 1 :]

    def step(self, loss: torch.Tensor) -> float:
        """Takes one step of clipped AdamW on the chosen elements; returns the gradient's norm."""
        options, rate = self._options, self._options.learning_rate
        found = torch.autograd.grad(loss, list(self.weights.values()))
        gradients = {
            name: gradient * self._chosen[name]
            for name, gradient in zip(self.weights, found, strict=True)
        }
        norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients.values()))
        factor = min(1.0, options.max_grad_norm / (norm + 1e-6))
        self._steps += 1
        for name, gradient in gradients.items():
            clipped = gradient * factor
            first = self._first[name] = 0.9 * self._first[name] + 0.1 * clipped
            second = self._second[name]
            second = self._second[name] = self._beta2 * second + (1 - self._beta2) * clipped**2
            size = (second / (1 - self._beta2**self._steps)).sqrt() + EPSILON
            direction = first / (1 - 0.9**self._steps) / size
            with torch.no_grad():
                value = self.weights[name]
                moved = value * (1 - rate * options.weight_decay) - rate * direction
                value.copy_(torch.where(self._chosen[name] == 1, moved, value))
        return norm


def check(run_dir, restated, before, after, flag, norms) -> None:
    """Compares a run's adapter and gradient norms with the restatement's."""
    was, now, chosen = adapter(run_dir, before), adapter(run_dir, after), active(run_dir, flag)
    moved = 0.0
    for name, expected in restated.weights.items():
        np.testing.assert_allclose(now[name], expected.detach(), rtol=0, atol=TOLERANCE)
        frozen = ~chosen[name]
        assert np.array_equal(now[name].view("u4")[frozen], was[name].view("u4")[frozen])
        moved = max(moved, float(np.abs(now[name] - was[name]).max()))
    assert moved > 100 * TOLERANCE
    logged = [line["grad_norm"] for line in lines(run_dir, after, Artifact.METRICS)]
    assert logged == pytest.approx(norms, rel=TOLERANCE)


def rendered(question: str) -> list[int]:
    """Returns the prompt's tokens by the tiny model's template, written out."""
    text = f"<|user|>{question}<|assistant|>"
    return build_tokenizer()(text, add_special_tokens=False)["input_ids"]


def test_sft_is_the_mean_over_all_completion_tokens_of_a_step(run_dir, tmp_path, tiny_model_dir):
    """One step takes in all four records, whatever their order."""
    records = [Record(f"r{n}", f"{n} and so on?", text) for n, text in enumerate(ANSWERS)]
    write_records(tmp_path / "four.jsonl", records)
    train_sft(run_dir, replace(SFT, data=str(tmp_path / "four.jsonl")))

    tokenizer = build_tokenizer()
    sequences = []
    for record in records:
        prompt, text = rendered(record.prompt), record.completion + "<eos>"
        answer = tokenizer(text, add_special_tokens=False)["input_ids"]
        sequences.append(Sequence([*prompt, *answer], len(prompt)))
    assert len({len(each.ids) - each.start for each in sequences}) == len(sequences)
    chosen = active(run_dir, Flag.SFT)
    restated = Restated(tiny_model_dir, adapter(run_dir, Stage.SCORE), chosen, SFT)
    losses, norms = [], []
    for _ in range(STEPS):
        loss = -torch.cat([restated.log_probabilities(each) for each in sequences]).mean()
        losses.append(loss.item())
        norms.append(restated.step(loss))
    check(run_dir, restated, Stage.SCORE, Stage.TRAIN_SFT, Flag.SFT, norms)
    logged = [line["loss"] for line in lines(run_dir, Stage.TRAIN_SFT, Artifact.METRICS)]
    assert logged == pytest.approx(losses, rel=TOLERANCE)


@pytest.fixture
def drawn(monkeypatch) -> list[Sampled]:
    """Adds a reward `drawn`, which keeps what every step of GRPO sampled."""
    steps: list[Sampled] = []

    def reward(completions, prompts, completion_ids):
        sequences = []
        for messages, written in zip(prompts, completion_ids, strict=True):
            prompt = rendered(messages[-1]["content"])
            sequences.append(Sequence([*prompt, *written], len(prompt)))
        steps.append(Sampled(sequences, [len(set(text)) / 10 for text in completions]))
        return steps[-1].rewards

    monkeypatch.setitem(REWARDS, "drawn", reward)
    return steps


@pytest.mark.parametrize("iterations", [1, 2])
def test_grpo_is_the_mean_over_all_sampled_tokens_of_a_step(
    run_dir, drawn, tiny_model_dir, iterations
):
    """KL is measured from the adapter after SFT, which the first step starts at, not from the base.

    In the second of two steps on the same completions, ratios of probabilities are clipped.
    """
    train_sft(run_dir, SFT)
    again = ("num_iterations=2", "epsilon=0.02") if iterations == 2 else ()
    options = replace(RL, training=(*RL.training, *again))
    train_rl(run_dir, options)

    start = adapter(run_dir, Stage.TRAIN_SFT)
    chosen = active(run_dir, Flag.RL)
    restated = Restated(tiny_model_dir, start, chosen, options)
    reference = Restated(tiny_model_dir, start, chosen, options)
    assert len(drawn) == math.ceil(STEPS / iterations)
    norms, divergences, lengths, clipped = [], [], set(), 0
    old: list[torch.Tensor] = []
    for number in range(STEPS):
        step, fresh = drawn[number // iterations], number % iterations == 0
        terms, kl, old = [], [], [] if fresh else old
        advantages = normalised(step.rewards)
        for place, (sequence, advantage) in enumerate(zip(step.sequences, advantages, strict=True)):
            new = restated.log_probabilities(sequence, RL.temperature)
            if fresh:
                old.append(new.detach())
            with torch.no_grad():
                apart = reference.log_probabilities(sequence, RL.temperature)
            # The ratio's gradient makes that of the estimate the divergence's own.
            ratio = (new - old[place]).exp()
            bounded = ratio.clamp(1 - CLIP, 1 + CLIP)
            gain = torch.minimum(ratio * advantage, bounded * advantage)
            clipped += int((gain < ratio * advantage).sum())
            kl.append(ratio * ((apart - new).exp() - (apart - new) - 1))
            terms.append(-gain + RL.kl_beta * kl[-1])
            lengths.add(len(new))
        divergences.append(torch.cat(kl).mean().item())
        norms.append(restated.step(torch.cat(terms).mean()))
    assert len(lengths) > 3 - iterations
    assert divergences[0] == 0
    assert min(divergences[1:]) > 1e-4
    assert (clipped > 0) == (iterations == 2)
    check(run_dir, restated, Stage.TRAIN_SFT, Stage.TRAIN_RL, Flag.RL, norms)


def test_the_adapter_after_sft_is_not_the_base_model(run_dir, tiny_model_dir):
    """Else the divergence from one would be that from the other."""
    train_sft(run_dir, SFT)
    after, chosen = adapter(run_dir, Stage.TRAIN_SFT), active(run_dir, Flag.SFT)
    none = {name: 0 * values for name, values in after.items()}
    sequence = Sequence(rendered(ANSWERS[1]), 1)
    there, base = (
        Restated(tiny_model_dir, each, chosen, SFT).log_probabilities(sequence)
        for each in (after, none)
    )
    assert (there - base).abs().max() > 1e-2


def normalised(rewards: list[float]) -> list[float]:
    """Returns advantages: distance from the group's mean, in its standard deviations (n - 1)."""
    groups = 2 * np.array(rewards, np.float64).reshape(-1, RL.num_generations)
    spread = groups.std(axis=1, ddof=1, keepdims=True)
    return ((groups - groups.mean(axis=1, keepdims=True)) / (spread + 1e-4)).flatten().tolist()

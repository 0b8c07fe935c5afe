"""GRPO steps of `movement`: groups, advantages, rewards, and what cannot be sampled."""

import statistics
from types import SimpleNamespace

import pytest
import torch

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import create_adapter
from lorapar_cli.models.base_model import find_base_model, load_base, load_tokenizer
from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.rendering.chat_template import ChatTemplate
from lorapar_cli.models.rendering.tokenization import decode_text, encode_prompt
from lorapar_cli.scoring import policy_steps
from lorapar_cli.scoring.gradients import scored_values
from lorapar_cli.scoring.movement import Training
from lorapar_cli.scoring.policy_steps import (
    GROUP,
    PROMPTS,
    PolicySteps,
    group_advantages,
    reward_answer,
)
from lorapar_cli.scoring.scored_model import ScoredModel
from lorapar_cli.scoring.student import Student
from lorapar_cli.store.records import Record

RECORDS = [
    Record(f"r{i}", f"What is {i} times {i}?", f"#### {i * i}", reference_answer=str(i * i))
    for i in range(5)
]


@pytest.fixture(scope="module")
def parts(tiny_model_dir):
    """A scored model, and the student it is made of."""
    base = find_base_model(str(tiny_model_dir))
    model = create_adapter(
        load_base(base), r=2, lora_alpha=4, target_modules=["q_proj"], init="orthogonal", seed=0
    ).eval()
    scored = ScoredModel(model, scored_values(model, None), None, 0.0, 1.0, [])
    return scored, Student(base, load_tokenizer(base))


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(policy_steps, "NEW_TOKENS", 12)


def vowels(_record, completion) -> float:
    """A reward that random text gets now and then."""
    return float(any(letter in completion for letter in "aeiou"))


def steps_of(parts, reward=vowels, records=RECORDS, processes=None, batch_tokens=0):
    training = Training(2, 1e-3, batch_tokens, False)
    return PolicySteps(*parts, records, training, processes or Processes(0, 1), 7, reward)


def test_each_group_is_weighted_by_its_advantages(parts):
    tokenizer = parts[1].tokenizer
    prompts = {tuple(encode_prompt(tokenizer, record.prompt)) for record in RECORDS}
    found = steps_of(parts, batch_tokens=10_000)
    groups = found.parts(0)
    assert 0 < len(groups) <= PROMPTS
    for part in groups:
        (prompt,) = {tuple(s.input_ids[: s.prompt_length]) for s in part.samples}
        assert prompt in prompts
        assert len(part.samples) == GROUP
        texts = [
            decode_text(tokenizer, s.input_ids[s.prompt_length :], skip_special_tokens=True)
            for s in part.samples
        ]
        rewards = [vowels(None, text) for text in texts]
        mean, spread = statistics.mean(rewards), statistics.stdev(rewards)
        expected = [(r - mean) / (spread + 1e-4) / (PROMPTS * GROUP) for r in rewards]
        assert part.weights == pytest.approx(expected, rel=1e-5)
        assert all(1 <= s.completion_length <= 12 for s in part.samples)
    assert found.counts.tolist()[1:] == [PROMPTS, PROMPTS - len(groups)]


def test_sampling_is_determined_by_seed_and_step_not_by_processes(parts):
    whole = steps_of(parts)
    first, second = whole.parts(0), whole.parts(1)
    assert str(first) != str(second)
    shares = [steps_of(parts, processes=Processes(rank, 2)).parts(0) for rank in range(2)]
    assert sorted(map(str, first)) == sorted(str(part) for share in shares for part in share)


def test_small_batches_have_the_same_samples_and_weights(parts):
    whole = steps_of(parts, batch_tokens=10_000).parts(0)
    small = steps_of(parts, batch_tokens=1).parts(0)
    assert len(small) == GROUP * len(whole)

    def pairs(found):
        return sorted(
            (s.input_ids, w)
            for part in found
            for s, w in zip(part.samples, part.weights, strict=True)
        )

    assert pairs(small) == pairs(whole)


def test_a_truncated_thought_is_rewarded_as_one(parts):
    template = ChatTemplate("{{ messages[0].content }}<think>\n")
    scored, student = parts
    thinking = Student(student.base, load_tokenizer(student.base, template=template))
    read: list[str] = []
    steps_of((scored, thinking), reward=lambda _, text: read.append(text) or 0.0).parts(0)
    # A random model seldom ends a completion within twelve tokens.
    marked = [text for text in read if text.startswith("<think>")]
    assert len(read) == PROMPTS * GROUP
    assert len(marked) > len(read) / 2


def test_groups_without_spread_are_counted_and_an_all_flat_run_is_refused(parts):
    flat = steps_of(parts, reward=lambda record, text: 1.0)
    assert flat.parts(0) == []
    with pytest.raises(LoraparError, match="no sampled group has both") as raised:
        flat.total()
    assert "64 of 64 sampled completions were right, 8 of 8 groups" in raised.value.found
    mixed = steps_of(parts)
    mixed.parts(0)
    assert "2 GRPO steps" in mixed.total()


def test_records_without_a_reference_are_not_asked(parts):
    unknown = Record("u", "Why?", "Because.")
    prompt = encode_prompt(parts[1].tokenizer, "Why?")
    found = steps_of(parts, records=[unknown, *RECORDS])
    asked = [s.input_ids for part in found.parts(0) for s in part.samples]
    assert asked
    assert not any(ids[: len(prompt)] == prompt for ids in asked)
    with pytest.raises(LoraparError, match="cannot sample") as raised:
        steps_of(parts, records=[unknown])
    assert "1 record, none with a reference answer" in raised.value.found


def test_an_encoder_decoder_is_refused(parts):
    student = SimpleNamespace(base=SimpleNamespace(encoder_decoder=True), tokenizer=None)
    with pytest.raises(LoraparError, match="cannot sample") as raised:
        steps_of((parts[0], student))
    assert "encoder-decoder" in raised.value.found


@pytest.mark.parametrize(
    ("completion", "reward"),
    [("3*3=9\n#### 9", 1.0), ("#### IX", 1.0), ("#### 8", 0.0), ("", 0.0)],
)
def test_any_accepted_answer_is_rewarded(completion, reward):
    record = Record("r", "?", "#### 9", "9", reference_answers=["9", "IX"])
    assert reward_answer(record, completion) == reward


def test_advantages_of_a_group():
    found = group_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    assert found.tolist() == pytest.approx([1.4997, -0.4999, -0.4999, -0.4999], abs=1e-4)

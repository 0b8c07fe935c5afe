"""Batched decoding against `transformers.generate` one prompt at a time."""

import pytest
import torch

from lorapar_cli.hub.generation import Decoding, complete_batch, plan_batches
from lorapar_cli.hub.models import find_base_model, load_base, load_tokenizer
from lorapar_cli.hub.prompts import encode_prompt

QUESTIONS = ["Hi", "What is 3 plus 4?", "Tom has 12 apples and gives 5 away.", "x" * 70, "?", "aa"]


@pytest.fixture(scope="module")
def tokenizer(tiny_model_dir):
    return load_tokenizer(find_base_model(str(tiny_model_dir)))


@pytest.fixture(scope="module")
def model(tiny_model_dir):
    """The random Llama, made to end now and then by a larger score for the end of sequence."""
    loaded = load_base(find_base_model(str(tiny_model_dir)))
    with torch.no_grad():
        loaded.lm_head.weight[loaded.config.eos_token_id] *= 3.0
        loaded.lm_head.weight.mul_(20)
    return loaded


@pytest.fixture(scope="module")
def prompts(tokenizer):
    return [encode_prompt(tokenizer, question) for question in QUESTIONS]


def generate_alone(model, tokenizer, prompt, **settings):
    ids = torch.tensor([prompt])
    whole = model.generate(input_ids=ids, pad_token_id=0, **settings)
    return whole[0, len(prompt) :].tolist()


def test_greedy_equals_generate_one_by_one(model, tokenizer, prompts):
    alone = [
        generate_alone(model, tokenizer, prompt, max_new_tokens=40, do_sample=False)
        for prompt in prompts
    ]
    together = complete_batch(model, tokenizer, prompts, Decoding(40))
    lengths = {len(tokens) for tokens in alone}
    assert len(lengths) > 2, "rows must end at different steps, or nothing is tested"
    assert min(lengths) < 40
    for tokens, completion in zip(alone, together, strict=True):
        assert completion.text == tokenizer.decode(tokens, skip_special_tokens=True)
        assert completion.tokens == len(tokens)
        assert completion.finished == (tokens[-1] == tokenizer.eos_token_id)


def test_stop_text_ends_a_completion_and_is_not_part_of_it(model, tokenizer, prompts):
    free = complete_batch(model, tokenizer, prompts, Decoding(40))
    longest = max(free, key=lambda completion: len(completion.text))
    stop = longest.text[10:12]
    stopped = complete_batch(model, tokenizer, prompts, Decoding(40, stop=[stop, "\x00never"]))
    for without, completion in zip(free, stopped, strict=True):
        assert completion.text == without.text.partition(stop)[0]
        assert completion.tokens <= without.tokens
        if stop in without.text:
            assert completion.finished


def test_draws_are_decided_by_the_seed(model, tokenizer, prompts):
    def draw(seed):
        decoding = Decoding(12, temperature=1.0)
        return [c.text for c in complete_batch(model, tokenizer, prompts, decoding, seed)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_a_cold_or_narrow_draw_is_greedy(model, tokenizer, prompts):
    greedy = complete_batch(model, tokenizer, prompts, Decoding(12))
    cold = complete_batch(model, tokenizer, prompts, Decoding(12, temperature=1e-4))
    narrow = complete_batch(model, tokenizer, prompts, Decoding(12, temperature=1.0, top_p=1e-9))
    assert cold == greedy
    assert narrow == greedy


def test_draws_follow_the_models_probabilities(model, tokenizer, prompts):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompts[1]])).logits[0, -1]
    shares = torch.softmax(logits / 5.0, dim=-1)
    n = 4000
    drawn = complete_batch(model, tokenizer, [prompts[1]] * n, Decoding(1, temperature=5.0))
    likeliest = int(shares.argmax())
    text = tokenizer.decode([likeliest], skip_special_tokens=True)
    share = sum(completion.text == text for completion in drawn) / n
    same_text = sum(
        float(shares[token])
        for token in range(len(shares))
        if tokenizer.decode([token], skip_special_tokens=True) == text
    )
    assert share == pytest.approx(same_text, abs=5 * (same_text * (1 - same_text) / n) ** 0.5)


def test_batches_hold_every_prompt_once_longest_first():
    lengths = [3, 9, 1, 9, 4, 4, 7]
    batches = plan_batches(lengths, 3)
    assert batches == [[1, 3, 6], [4, 5, 0], [2]]
    assert plan_batches([], 3) == []

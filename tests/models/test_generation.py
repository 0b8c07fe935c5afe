"""Batched decoding against `transformers.generate` one prompt at a time."""

import pytest
import torch
import transformers

from lorapar_cli.errors import Diverged
from lorapar_cli.models.base_model import find_base_model, load_base, load_tokenizer
from lorapar_cli.models.generation import (
    Decoding,
    complete_batch,
    finite_probabilities,
    plan_batches,
)
from lorapar_cli.models.rendering.tokenization import encode_prompt

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


def test_nothing_is_kept_for_a_gradient(model, tokenizer, prompts):
    kept = []
    hook = model.register_forward_hook(lambda *_: kept.append(torch.is_grad_enabled()))
    try:
        complete_batch(model, tokenizer, prompts[:2], Decoding(3))
    finally:
        hook.remove()
    assert kept
    assert not any(kept)


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


def test_logits_that_are_not_finite_are_an_expected_error(model, tokenizer, prompts, monkeypatch):
    weight = next(iter(model.parameters()))
    monkeypatch.setattr(weight, "data", torch.full_like(weight, torch.nan))
    with pytest.raises(Diverged, match="no token can be sampled"):
        complete_batch(model, tokenizer, prompts, Decoding(4, temperature=1.0))


def test_another_error_of_torch_stays_as_it_is():
    with pytest.raises(RuntimeError, match="another"), finite_probabilities():
        raise RuntimeError("another")


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


FAMILIES = {
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
    "bloom": ("BloomConfig", "BloomForCausalLM", {"n_layer": 2, "n_head": 4}),
    "opt": (
        "OPTConfig",
        "OPTForCausalLM",
        {"ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": 128},
    ),
    "mistral": ("MistralConfig", "MistralForCausalLM", {"sliding_window": 8}),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", {"sliding_window": 8, "head_dim": 8}),
    "hybrid": (
        "Qwen3NextConfig",
        "Qwen3NextForCausalLM",
        {
            "head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "num_experts": 2,
            "num_experts_per_tok": 1,
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 16,
        },
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_model_families_answer_together_as_alone(family, tokenizer):
    """Absolute and relative positions, ALiBi, sliding windows, layers without keys and values."""
    config, model, settings = FAMILIES[family]
    torch.manual_seed(0)
    common = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    loaded = getattr(transformers, model)(getattr(transformers, config)(**common | settings)).eval()
    with torch.no_grad():
        for parameter in loaded.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    # Many ends, so that rows leave the batch at different steps.
    loaded.generation_config.eos_token_id = list(range(1, 40))
    prompts = [list(range(60, 60 + n)) for n in (3, 9, 14, 5, 20, 7, 8, 11)]
    together = complete_batch(loaded, tokenizer, prompts, Decoding(30))
    for prompt, completion in zip(prompts, together, strict=True):
        alone = generate_alone(loaded, tokenizer, prompt, max_new_tokens=30, do_sample=False)
        assert completion.text == tokenizer.decode(alone, skip_special_tokens=True)
        assert completion.tokens == len(alone)

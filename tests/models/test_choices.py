"""Likelihoods of choices, against one choice at a time in full."""

import pytest
import torch

from lorapar_cli.models.base_model import find_base_model, load_base, load_tokenizer
from lorapar_cli.models.choices import encode_choice, score_choices

ITEMS = [
    ("The capital of France is", [" Paris", " Rome", " a town"]),
    ("2 + 2 =", [" 4", " 5"]),
    ("Q: What is it? A:", [" A", " B", " C", " D"]),
]


@pytest.fixture(scope="module")
def base(tiny_model_dir):
    return find_base_model(str(tiny_model_dir))


@pytest.fixture(scope="module")
def tokenizer(base):
    return load_tokenizer(base)


@pytest.fixture(scope="module")
def model(base):
    return load_base(base)


def alone(model, context: list[int], choice: list[int]) -> float:
    whole = torch.tensor([context + choice])
    with torch.no_grad():
        shares = torch.log_softmax(model(input_ids=whole).logits[0].double(), dim=-1)
    first = len(context) - 1
    return sum(float(shares[first + i, token]) for i, token in enumerate(choice))


def test_together_equals_one_at_a_time(model, tokenizer):
    asked = [[encode_choice(tokenizer, context, c) for c in choices] for context, choices in ITEMS]
    found = score_choices(model, tokenizer, asked, 512)
    for values, choices in zip(found, asked, strict=True):
        assert values == pytest.approx([alone(model, *choice) for choice in choices], abs=1e-4)
    assert score_choices(model, tokenizer, asked, None) == found


def test_contexts_are_truncated_from_the_left(model, tokenizer):
    context, choice = encode_choice(tokenizer, "x" * 30 + " the end:", " yes")
    (found,) = score_choices(model, tokenizer, [[(context, choice)]], 16)
    # Of 16 positions the last predicts the last token: 17 tokens are left.
    kept = (context + choice)[-17 : -len(choice)]
    assert found == pytest.approx([alone(model, kept, choice)], abs=1e-4)
    assert found != pytest.approx([alone(model, context, choice)], abs=1e-3)


def test_blanks_at_the_boundary_belong_to_the_choice(tokenizer):
    context, choice = encode_choice(tokenizer, "a b  ", "c")
    assert tokenizer.decode(context) == "a b"
    assert tokenizer.decode(choice) == "  c"

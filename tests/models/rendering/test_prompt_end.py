"""Tokenizers that end every text with a token of their own leave prompts open, whatever they are."""

import pytest
from tokenizers.processors import TemplateProcessing

from lorapar_cli.models.rendering.prompt_end import leave_prompts_open
from lorapar_cli.models.rendering.tokenization import encode_prompt
from tests.conftest import build_tokenizer


@pytest.mark.parametrize(
    ("single", "expected"),
    [
        ("$A <eos>", "hi\n"),
        ("<|user|> $A <eos>", "<|user|>hi\n"),
        ("<pad> <|user|> $A <eos>", "<pad><|user|>hi\n"),
        ("<|user|> $A <|assistant|>", "<|user|>hi\n"),
        ("$A <pad> <eos>", "hi\n"),
    ],
)
def test_only_what_stands_behind_a_text_is_left_out(single, expected):
    tokenizer = build_tokenizer(None)
    special = [
        (name, tokenizer.convert_tokens_to_ids(name)) for name in single.split() if "$" not in name
    ]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=single, special_tokens=special
    )
    assert encode_prompt(tokenizer, "hi")[-1] == special[-1][1]
    assert leave_prompts_open(tokenizer)
    assert tokenizer.decode(encode_prompt(tokenizer, "hi")) == expected
    assert not leave_prompts_open(tokenizer)


def test_other_tokenizers_stay_as_they_are():
    tokenizer = build_tokenizer(None)
    before = tokenizer("text")["input_ids"]
    assert not leave_prompts_open(tokenizer)
    assert tokenizer("text")["input_ids"] == before

"""The embedded tokenizer: nothing is unknown, digits stand alone, the chat form is exact."""

import pytest
from transformers import AutoTokenizer

from lorapar_cli.embedded import MODEL_DIR

CHAT = [
    {"role": "user", "content": "What is 1 + 2?"},
    {"role": "assistant", "content": "#### 3"},
]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL_DIR, local_files_only=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  two  spaces , and a tab\tthen\r\nlines \n\n",
        "1,080 = <<12*90=1080>>1080 $0.50",
        "naïve “quotes” – Ωmega ½ ２ ٣ 🦊👩‍🚀 \u0000 \u200b \ufffd",
        "don't can't 12.5% C:\\path",
    ],
)
def test_any_text_survives(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert max(ids, default=0) < len(tokenizer)


def test_digits_are_single_tokens(tokenizer):
    assert tokenizer.tokenize("1080") == ["1", "0", "8", "0"]


def test_end_and_pad_are_two_tokens(tokenizer):
    assert tokenizer.eos_token_id != tokenizer.pad_token_id
    assert tokenizer.decode([tokenizer.eos_token_id]) == "<|end|>"


def test_chat_form(tokenizer):
    assert tokenizer.apply_chat_template(CHAT, tokenize=False) == (
        "<|user|>What is 1 + 2?<|assistant|>#### 3<|end|>"
    )
    asked = [{"role": "system", "content": "Be brief."}, CHAT[0]]
    assert tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True) == (
        "<|system|>Be brief.<|user|>What is 1 + 2?<|assistant|>"
    )


def test_generation_marks_cover_the_answer_and_its_end(tokenizer):
    encoded = tokenizer.apply_chat_template(
        CHAT, return_dict=True, return_assistant_tokens_mask=True
    )
    pairs = zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
    assert tokenizer.decode([i for i, marked in pairs if marked]) == "#### 3<|end|>"


def test_unknown_role_is_refused(tokenizer):
    with pytest.raises(Exception, match="roles are"):
        tokenizer.apply_chat_template([{"role": "tool", "content": ""}], tokenize=False)

"""Prompts and completions as tokens, with templates and tokenizers that are not as one expects."""

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.tokenization import encode, encode_prompt
from lorapar_cli.store.records import Record
from tests.conftest import CHAT_TEMPLATE, build_tokenizer

ANSWER = "first<eos>second"


def completion(tokenizer, answer):
    encoded = encode(tokenizer, Record(id="1", prompt="q", completion=answer))
    return tokenizer.decode(encoded.input_ids[encoded.prompt_length :])


@pytest.mark.parametrize("end", ["{{ eos_token }}", "{{ eos_token }}\n", ""])
@pytest.mark.parametrize("answer", ["plain", ANSWER])
def test_an_answer_is_never_cut_and_always_ends(end, answer):
    template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
        f"{{% if m['role'] == 'assistant' %}}{end}{{% endif %}}{{% endfor %}}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    assert completion(build_tokenizer(template), answer) == answer + "<eos>"


def test_messages_that_a_template_refuses_are_an_error():
    template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}"
        "{% endif %}" + CHAT_TEMPLATE
    )
    prompt = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    with pytest.raises(LoraparError, match="does not accept") as caught:
        encode_prompt(build_tokenizer(template), prompt)
    assert "no system role; its roles are system, user" in caught.value.found

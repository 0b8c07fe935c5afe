"""Prompts and completions as tokens, with templates and tokenizers that are not as one expects."""

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.rendering.encoding import encode
from lorapar_cli.models.rendering.tokenization import encode_prompt
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


TOOLS = [{"type": "function", "function": {"name": "clock", "parameters": {}}}]
CALLED = [
    {"role": "user", "content": "What time is it?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": '{"a": 1}'}}
        ],
    },
    {"role": "tool", "content": "12:30", "tool_call_id": "c1"},
]
TOOL_TEMPLATE = (
    "{% for tool in tools or [] %}<{{ tool.function.name }}>{% endfor %}"
    "{% for m in messages %}{{ m.role }}:{{ m.content }}"
    "{% for call in m.tool_calls or [] %}{{ call.id }}={{ call.function.arguments | tojson }}"
    "{% endfor %};{% endfor %}"
)


def test_a_template_that_takes_tools_is_given_them():
    tokenizer = build_tokenizer(TOOL_TEMPLATE)
    record = Record("r7", CALLED, "It is 12:30.", tools=TOOLS)
    text = tokenizer.decode(encode(tokenizer, record).input_ids)
    assert text == (
        '<clock>user:What time is it?;assistant:c1={"a": 1};tool:12:30;assistant:It is 12:30.;<eos>'
    )
    # Without definitions the calls are rendered all the same.
    assert "c1=" in tokenizer.decode(encode_prompt(tokenizer, CALLED))


@pytest.mark.parametrize(
    ("template", "prompt", "tools", "found"),
    [
        (CHAT_TEMPLATE, "q", TOOLS, "`tools` does not occur in it"),
        (CHAT_TEMPLATE, CALLED, None, "`tool_calls` does not occur in it"),
        (TOOL_TEMPLATE.replace("m.tool_calls", "m.calls"), CALLED, TOOLS, "`tool_calls` does not"),
        (None, "q", TOOLS, "there is no chat template"),
        (None, CALLED, None, "there is no chat template"),
    ],
)
def test_a_template_that_would_leave_tools_out_is_refused(template, prompt, tools, found):
    with pytest.raises(LoraparError) as error:
        encode(build_tokenizer(template), Record("r7", prompt, "a", tools=tools))
    assert error.value.what == "the model's chat template does not take the tools of record `r7`"
    assert found in error.value.found


def test_a_template_that_renders_a_prompt_as_nothing_is_refused():
    tokenizer = build_tokenizer()
    tokenizer.chat_template = "{{ ''.__class__ }}"
    with pytest.raises(LoraparError, match="renders a prompt as nothing") as caught:
        encode_prompt(tokenizer, "Why?", None, "r7")
    assert caught.value.found == "record `r7`"

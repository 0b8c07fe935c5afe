"""What of a record contributes to the loss, spelled out for templates of today's models.

The templates are shortened to what decides that: which tokens stand around an answer, whether the
generation prompt opens a block of reasoning, and what becomes of an answer without reasoning.
"""

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.rendering.chat_template import ChatTemplate
from lorapar_cli.models.rendering.encoding import (
    describe_encoding,
    encode,
    encode_records,
    shown_tokens,
)
from lorapar_cli.models.rendering.tokenization import encode_prompt
from lorapar_cli.store.records import Record
from tests.conftest import build_tokenizer

# Ends turns with the end of sequence; hybrid: `enable_thinking=false` closes the block in the
# prompt, and the last turn always gets one.
QWEN3 = (
    "{% for m in messages %}<im>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}"
    "{% if '</think>' in m.content %}{{ '<think>\n' + m.content.split('</think>')[0]"
    ".split('<think>')[-1].strip('\n') + '\n</think>\n\n' "
    "+ m.content.split('</think>')[-1].lstrip('\n') }}"
    "{% else %}{{ '<think>\n\n</think>\n\n' + m.content }}{% endif %}"
    "{% else %}{{ m.content }}{% endif %}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<im>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
QWEN3_THINKING = (
    QWEN3.split("{% if enable_thinking", maxsplit=1)[0] + "{{ '<think>\n' }}{% endif %}"
)
# Drops the reasoning of every assistant turn, and opens a block for the next one.
DEEPSEEK_R1 = (
    "{% for m in messages %}{% if m.role == 'user' %}<User>{{ m.content }}{% else %}"
    "<Assistant>{{ m.content.split('</think>')[-1] }}<eos>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<Assistant><think>\n{% endif %}"
)
LLAMA3 = (
    "<begin>{% for m in messages %}[{{ m.role }}]\n\n{{ m.content | trim }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n\n{% endif %}"
)
# The assistant is called `model`, and a turn ends with a token that is not the end of sequence.
GEMMA3 = (
    "<bos>{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
# No generation prompt, and a blank before the answer.
MISTRAL = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %}"
    " {{ m.content }}<eos>{% endif %}{% endfor %}"
)
PHI3 = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}<eos>{% endif %}"
)

# Closes a block that nothing has opened, unless it is to reason.
DEEPSEEK_V31 = (
    "{% for m in messages %}{% if m.role == 'user' %}<User>{{ m.content }}{% else %}"
    "<Assistant></think>{{ m.content.split('</think>')[-1] }}<eos>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<Assistant>{{ '<think>' if thinking else '</think>' }}{% endif %}"
)
# Takes reasoning from a field of its own, and writes a block in any case.
KIMI_K2 = (
    "{% for m in messages %}<im>{{ m.role }}<mid>{% if m.role == 'assistant' %}"
    "<think>{{ m.reasoning_content | default('') }}</think>{% endif %}{{ m.content }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<im>assistant<mid>{% endif %}"
)
# The same from the content, one line each; `/nothink` closes the block in the prompt.
GLM45 = (
    "{% for m in messages %}{% if m.role == 'user' %}<|user|>{{ '\n' + m.content }}"
    "{{ '/nothink' if enable_thinking is defined and not enable_thinking else '' }}{% else %}"
    "<|assistant|>{% set c = m.content %}{% if '</think>' in c %}"
    "{{ '\n<think>' + c.split('</think>')[0].split('<think>')[-1].strip() + '</think>' }}"
    "{% set c = c.split('</think>')[-1] %}{% else %}{{ '\n<think></think>' }}{% endif %}"
    "{{ '\n' + c.strip() }}<eos>{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>"
    "{{ '\n<think></think>' if enable_thinking is defined and not enable_thinking else '' }}{% endif %}"
)
DIRECT = "42"
REASONED = "<think>\n6*7\n</think>\n\n42"


def parts(template, completion, **arguments):
    """Returns what is context and what contributes to the loss, as text."""
    tokenizer = build_tokenizer(ChatTemplate(template, arguments).complete(None))
    encoded = encode(tokenizer, Record(id="r", prompt="6*7?", completion=completion))
    tokens = shown_tokens(tokenizer, encoded)
    prompt = tokenizer.decode(encode_prompt(tokenizer, "6*7?"))
    context = "".join(text for text, counts in tokens if not counts)
    # What RL and evaluation generate from is where a record's context begins.
    assert context.startswith(prompt)
    return context, "".join(text for text, counts in tokens if counts)


@pytest.mark.parametrize(
    ("template", "completion", "arguments", "context", "counted"),
    [
        (
            QWEN3,
            DIRECT,
            {},
            "<im>user\n6*7?<eos>\n<im>assistant\n<think>\n\n</think>\n\n",
            "42<eos>",
        ),
        (
            QWEN3,
            DIRECT,
            {"enable_thinking": False},
            "<im>user\n6*7?<eos>\n<im>assistant\n<think>\n\n</think>\n\n",
            "42<eos>",
        ),
        (
            QWEN3,
            REASONED,
            {"enable_thinking": True},
            "<im>user\n6*7?<eos>\n<im>assistant\n",
            "<think>\n6*7\n</think>\n\n42<eos>",
        ),
        (
            QWEN3_THINKING,
            DIRECT,
            {},
            "<im>user\n6*7?<eos>\n<im>assistant\n<think>\n\n</think>\n\n",
            "42<eos>",
        ),
        (
            QWEN3_THINKING,
            REASONED,
            {},
            "<im>user\n6*7?<eos>\n<im>assistant\n<think>\n",
            "6*7\n</think>\n\n42<eos>",
        ),
        (
            DEEPSEEK_R1,
            DIRECT,
            {},
            "<User>6*7?<Assistant><think>\n\n</think>\n\n",
            "42<eos>",
        ),
        (
            DEEPSEEK_R1,
            REASONED,
            {},
            "<User>6*7?<Assistant><think>\n",
            "6*7\n</think>\n\n42<eos>",
        ),
        (DEEPSEEK_V31, DIRECT, {}, "<User>6*7?<Assistant></think>", "42<eos>"),
        (
            DEEPSEEK_V31,
            REASONED,
            {"thinking": True},
            "<User>6*7?<Assistant><think>",
            "\n6*7\n</think>\n\n42<eos>",
        ),
        (KIMI_K2, DIRECT, {}, "<im>user<mid>6*7?<eos><im>assistant<mid><think></think>", "42<eos>"),
        (KIMI_K2, REASONED, {}, "<im>user<mid>6*7?<eos><im>assistant<mid>", f"{REASONED}<eos>"),
        (GLM45, DIRECT, {}, "<|user|>\n6*7?<|assistant|>\n<think></think>\n", "42<eos>"),
        (GLM45, REASONED, {}, "<|user|>\n6*7?<|assistant|>", "\n<think>6*7</think>\n42<eos>"),
        (
            GLM45,
            DIRECT,
            {"enable_thinking": False},
            "<|user|>\n6*7?/nothink<|assistant|>\n<think></think>",
            "\n42<eos>",
        ),
        (LLAMA3, DIRECT, {}, "<begin>[user]\n\n6*7?<eos>[assistant]\n\n", "42<eos>"),
        (
            GEMMA3,
            DIRECT,
            {},
            "<bos><start_of_turn>user\n6*7?<end_of_turn>\n<start_of_turn>model\n",
            "42<end_of_turn>\n<eos>",
        ),
        (MISTRAL, DIRECT, {}, "[INST] 6*7? [/INST]", " 42<eos>"),
        (PHI3, DIRECT, {}, "<|user|>\n6*7?<|end|>\n<|assistant|>\n", "42<|end|>\n<eos>"),
        (None, DIRECT, {}, "6*7?\n", "42<eos>"),
    ],
)
def test_what_contributes_to_the_loss(template, completion, arguments, context, counted):
    assert parts(template, completion, **arguments) == (context, counted)


def test_reasoning_without_its_first_tag_continues_an_opened_block():
    context, counted = parts(QWEN3_THINKING, "6*7\n</think>\n\n42")
    assert context.endswith("<think>\n")
    assert counted == "6*7\n</think>\n\n42<eos>"


@pytest.mark.parametrize(
    ("template", "arguments"),
    [
        (QWEN3, {"enable_thinking": False}),
        (GLM45, {"enable_thinking": False}),
        (DEEPSEEK_V31, {"thinking": False}),
        (DEEPSEEK_V31, {}),
    ],
)
def test_reasoning_and_a_block_that_the_prompt_has_closed_contradict_each_other(
    template, arguments
):
    with pytest.raises(LoraparError, match="block of reasoning") as caught:
        parts(template, REASONED, **arguments)
    assert "`r`" in caught.value.found


def test_a_template_that_rewrites_earlier_turns_keeps_its_end_of_turn():
    template = (
        "{% for m in messages %}{{ m.role }}: "
        "{{ '(shortened)' if not loop.last else m.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    context, counted = parts(template, "So:\n42")
    assert context == "user: 6*7?<|end|>assistant: "
    assert counted == "So:\n42<|end|><eos>"


def test_a_template_that_changes_completions_is_refused_with_their_number():
    template = (
        "{% for m in messages %}{{ m.content if m.role == 'user' else 'A' }}<eos>{% endfor %}"
        "{% if add_generation_prompt %}>{% endif %}"
    )
    records = [Record(id=f"r{n}", prompt="q", completion=c) for n, c in enumerate(["x", "A", "y"])]
    with pytest.raises(LoraparError, match="changes completions") as caught:
        encode_records(build_tokenizer(template), records)
    assert caught.value.found == "2 of 3 records, such as `r0`"


def test_blocks_that_stand_for_no_reasoning_are_counted():
    records = [
        Record(id=f"r{n}", prompt="q", completion=c) for n, c in enumerate([DIRECT, REASONED])
    ]
    closed = describe_encoding(encode_records(build_tokenizer(DEEPSEEK_R1), records))
    assert closed == [
        "the chat template opens a block of reasoning that 1 of 2 records has no text for; it is "
        "closed and does not contribute to the loss"
    ]
    (empty,) = describe_encoding(encode_records(build_tokenizer(QWEN3), records), "System 1")
    assert "1 of 2 System 1 records" in empty
    assert describe_encoding(encode_records(build_tokenizer(LLAMA3), records)) == []


def test_headings_that_the_model_writes_are_counted_and_carry_loss():
    heading = "<|channel|>final<|message|>"
    template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}<|start|>assistant" + heading + ""
        "{{ m.content }}<eos>{% else %}<|user|>{{ m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    )
    records = [Record(f"r{n}", "q", text) for n, text in enumerate([" yes ", "final\nno"])]
    tokenizer = build_tokenizer(template)
    encoded = encode_records(tokenizer, records)
    written = [[text for text, counts in shown_tokens(tokenizer, e) if counts] for e in encoded]
    assert ["".join(each) for each in written] == [
        heading + " yes <eos>",
        heading + "final\nno<eos>",
    ]
    (sentence,) = describe_encoding(encoded)
    assert f'writes "{heading}" between prompt and answer of 2 of 2 records' in sentence
    ended = build_tokenizer(
        template.replace(
            "<|start|>assistant{% endif %}", "<|start|>assistant" + heading + "{% endif %}"
        )
    )
    assert describe_encoding(encode_records(ended, records)) == []


# What stands at the end of the prompt, where the model goes on, and before no answer.
OPENINGS = {
    "another tag": "◁think▷",
    "one token": "<|START_THINKING|>",
    "a channel": "<|open|>think<|sep|>\n",
    "words": "Here are my reasoning steps:\n",
}


def with_opening(opening):
    """A template that drops the reasoning of earlier turns and ends prompts with `opening`."""
    return (
        "{% for m in messages %}<|{{ m.role }}|>"
        "{{ m.content if m.role == 'user' or loop.last else 'dropped' }}"
        "{% if m.role == 'assistant' %}<eos>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>" + opening + "{% endif %}"
    )


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS.keys())
def test_a_prompt_that_no_answer_follows_is_refused_with_the_number_of_records(opening):
    tokenizer = build_tokenizer(with_opening(opening))
    records = [Record(id=str(i), prompt=f"{i} plus 1?", completion=str(i + 1)) for i in range(3)]
    with pytest.raises(LoraparError, match="does not write before an answer") as caught:
        encode_records(tokenizer, records)
    assert caught.value.found == "3 of 3 records, such as `0`"
    assert opening.strip() in caught.value.hint
    assert "--template-arg" in caught.value.hint


def test_prompts_that_end_in_blanks_and_rewritten_turns_are_no_reason_to_refuse():
    tokenizer = build_tokenizer(with_opening("\n"))
    turns = [{"role": role, "content": role[0]} for role in ("user", "assistant", "user")]
    for prompt in ("6*7?", turns, "<|assistant|>"):
        encoded = encode(tokenizer, Record(id="r", prompt=prompt, completion="42"))
        assert tokenizer.decode(encoded.input_ids[encoded.prompt_length :]) == "42<eos>"


def test_what_stands_behind_all_messages_is_no_reason_to_refuse():
    context, counted = parts(with_opening("").replace("{% if add", "(calm){% if add"), DIRECT)
    assert context == "<|user|>6*7?(calm)<|assistant|>"
    assert counted.startswith("42<eos>")


def test_reasoning_keeps_the_newline_that_its_prompt_does_not_write():
    opened = DEEPSEEK_R1.replace("<think>\n{% endif", "<think>{% endif")
    assert parts(opened, REASONED) == (
        "<User>6*7?<Assistant><think>",
        "\n6*7\n</think>\n\n42<eos>",
    )


# Reads lists of contents, and a text as a list without any.
FOR_LISTS = (
    "{% for m in messages %}{{ m.role }}:{% if m.role in whole %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{{ c.text }}{% endfor %}{% endif %}<eos>{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@pytest.mark.parametrize(
    ("whole", "what"),
    [("[]", "leaves out what the last message"), ("['user']", "leaves completions out")],
)
def test_a_template_that_leaves_texts_out_is_refused(whole, what):
    tokenizer = build_tokenizer(f"{{% set whole = {whole} %}}" + FOR_LISTS)
    with pytest.raises(LoraparError, match=what):
        encode(tokenizer, Record(id="r", prompt="6*7?", completion="42"))
    kept = build_tokenizer("{% set whole = ['user', 'assistant'] %}" + FOR_LISTS)
    encode(kept, Record(id="r", prompt="6*7?", completion="42"))

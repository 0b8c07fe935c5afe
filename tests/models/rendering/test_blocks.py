"""Completions that begin inside a block of reasoning which their prompt opens."""

import pytest

from lorapar_cli.models.rendering.blocks import as_read
from lorapar_cli.models.rendering.tokenization import continues_block, encode_prompt, in_blocks
from lorapar_cli.store.records import Record
from tests.conftest import build_tokenizer


@pytest.mark.parametrize(
    ("completion", "in_block", "finished", "read"),
    [
        ("so it is 12", True, False, "<think>so it is 12"),
        ("so it is 12</think>\n1", True, False, "so it is 12</think>\n1"),
        ("so it is 12[/THINK]", True, False, "so it is 12[/THINK]"),
        ("12", True, True, "12"),
        ("so it is 12", False, False, "so it is 12"),
    ],
)
def test_only_a_truncated_thought_is_marked(completion, in_block, finished, read):
    assert as_read(completion, in_block, finished) == read


@pytest.mark.parametrize(
    ("ending", "inside"),
    [
        ("<think>\n", True),
        ("<seed:think>", True),
        ("[THINK]", True),
        ("<think>\n\n</think>\n\n", False),
        ("answer:", False),
    ],
)
def test_the_end_of_a_prompt_decides(ending, inside):
    tokenizer = build_tokenizer("{{ messages[0].content }}" + ending)
    records = [Record("a", "What is 6*7?", "42"), Record("b", "<think>", "42")]
    assert in_blocks(tokenizer, records) == [inside] * 2
    prompt = encode_prompt(tokenizer, records[0].prompt)
    assert continues_block(tokenizer, prompt) == inside


def test_a_template_without_such_tags_renders_no_prompt():
    template = "{{ raise_exception('rendered') }}"
    assert in_blocks(build_tokenizer(template), [Record("a", "Q", "A")]) == [False]
    assert in_blocks(build_tokenizer(None), [Record("a", "Q", "A")]) == [False]

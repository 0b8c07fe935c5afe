"""What counts as a text that a chat template has left out."""

import pytest

from lorapar_cli.models.rendering.kept_text import keeps_words


@pytest.mark.parametrize(
    ("given", "written", "kept"),
    [
        ("What is 2 + 2?", "<user> What is 2 + 2? <end>", True),
        ("What is 2 + 2?", "<user> <end>", False),
        ("42", "4 2 <end>", True),
        ("Größe", "<user> gro sse", True),
        ("你好吗", "你 好 吗 <end>", True),
        ("?!", "<end>", True),
        ("", "<end>", True),
    ],
)
def test_a_text_is_left_out_where_none_of_its_words_is_written(given, written, kept):
    assert keeps_words(given, written) is kept

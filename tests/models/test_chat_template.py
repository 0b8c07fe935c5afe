"""Template files: read as they stand, and refused with file and line."""

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.chat_template import read_template
from tests.conftest import CHAT_TEMPLATE


@pytest.mark.parametrize(
    "text",
    [
        CHAT_TEMPLATE,
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{% endfor %}\n",
        "{% generation %}{{ messages[0]['content'] }}{%- endgeneration -%}",
    ],
)
def test_a_template_is_read_as_it_stands(tmp_path, text):
    path = tmp_path / "chat.jinja"
    path.write_text(text, encoding="utf-8")
    assert read_template(path) == text


def test_no_file_is_no_template():
    assert read_template(None) is None


def test_a_syntax_error_names_file_and_line(tmp_path):
    path = tmp_path / "chat.jinja"
    path.write_text("fine\n{% for m in messages %}")
    with pytest.raises(LoraparError, match="not a valid Jinja template") as caught:
        read_template(path)
    assert f"`{path}:2`" in caught.value.what
    assert "end of template" in caught.value.found


@pytest.mark.parametrize(
    ("content", "what"), [(None, "no such file"), (b"\xff\xfe", "is not UTF-8")]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, what):
    path = tmp_path / "chat.jinja"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LoraparError, match=what) as caught:
        read_template(path)
    assert str(path) in caught.value.what

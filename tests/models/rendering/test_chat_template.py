"""Template files: read as they stand, and refused with file and line."""

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models.rendering.chat_template import ChatTemplate, read_arguments, read_template
from tests.conftest import CHAT_TEMPLATE, build_tokenizer


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


TEMPLATE = (
    "\n{% if enable_thinking %}on{% else %}off{% endif %}{{ level }}|{{ messages[0].content }}"
)


@pytest.mark.parametrize(
    ("given", "rendered"),
    [
        ([], "\noff|hi"),
        (["enable_thinking=true"], "\non|hi"),
        (["enable_thinking=false", "level=high"], "\noffhigh|hi"),
        (['level="%} {{ 1 }}"'], "\noff%} {{ 1 }}|hi"),
        (["enable_thinking=False", "level=None"], "\noffNone|hi"),
        (["enable_thinking=True", 'level="False"'], "\nonFalse|hi"),
        (["level=null"], "\noffNone|hi"),
        (["level=1e400"], "\noff1e400|hi"),
        (["level=a=b"], "\noffa=b|hi"),
    ],
)
def test_arguments_are_what_the_template_sees(given, rendered):
    tokenizer = build_tokenizer(ChatTemplate(None, read_arguments(given)).complete(TEMPLATE))
    messages = [{"role": "user", "content": "hi"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == rendered


@pytest.mark.parametrize(
    ("given", "rendered"),
    [({}, "\noffNone|hi"), ({"enable_thinking": True}, "\nonNone|hi"), ({"level": 3}, "\noff3|hi")],
)
def test_defaults_hold_where_the_renderer_gives_no_other_value(given, rendered):
    template = ChatTemplate(None, {"enable_thinking": False, "level": None}, defaults=True)
    tokenizer = build_tokenizer(template.complete(TEMPLATE))
    messages = [{"role": "user", "content": "hi"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False, **given) == rendered


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (["enable_thinking"], "not KEY=VALUE"),
        (["a-b=1"], "not KEY=VALUE"),
        (["messages=1"], "set by lorapar"),
        (["level=1", "level=2"], "given twice"),
        (["enable_thinkin=true"], "did you mean `enable_thinking`"),
    ],
)
def test_an_argument_that_nothing_reads_is_refused(given, what):
    with pytest.raises(UsageError, match=what):
        ChatTemplate(None, read_arguments(given)).complete(TEMPLATE)


def test_arguments_need_a_template():
    with pytest.raises(UsageError, match="no chat template"):
        ChatTemplate(None, {"enable_thinking": True}).complete(None)


def test_a_template_that_would_take_minutes_to_compile_is_refused(tmp_path):
    path = tmp_path / "chat.jinja"
    path.write_text("{# long #}" * 100_001)
    with pytest.raises(LoraparError, match=r"chat\.jinja` is too large") as caught:
        read_template(path)
    assert caught.value.found == "1,000,010 characters, at most 1,000,000 are read"

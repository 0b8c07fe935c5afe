"""Templates that write the day's date: the same tokens on every day, and the date of a merged model's user."""

from datetime import datetime

import pytest
from transformers.utils import chat_template_utils

from lorapar_cli.errors import UsageError
from lorapar_cli.models.base_model import find_base_model, load_tokenizer
from lorapar_cli.models.rendering.chat_template import ChatTemplate, read_arguments
from tests.conftest import build_tokenizer

# As Llama 3.2 asks for it, in a loop and a macro too, as gpt-oss does.
TEMPLATE = """{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- macro today() %}{{ strftime_now("%Y-%m-%d") }}{% endmacro %}
{{- "Today: " + date_string + "\\n" }}
{%- for message in messages %}{{ today() + "|" + message.content }}{% endfor %}"""
MESSAGES = [{"role": "user", "content": "hi"}]
DIRECTIVES = "%a %A %b %B %d %-d %e %m %-m %y %Y %j %-j %F %H %-H %I %-I %M %S %T %R %p 100%% %%d"


@pytest.fixture(autouse=True)
def another_day(monkeypatch):
    """The clock of transformers on a day that no test expects."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(1999, 12, 31, 23, 59)

    monkeypatch.setattr(chat_template_utils, "datetime", Clock)
    chat_template_utils._compile_jinja_template.cache_clear()


def rendered(template: str | None, **given) -> str:
    return build_tokenizer(template).apply_chat_template(MESSAGES, tokenize=False, **given)


def test_every_day_is_the_same_one():
    assert rendered(TEMPLATE) == "Today: 31 Dec 1999\n1999-12-31|hi"
    assert rendered(ChatTemplate().complete(TEMPLATE)) == "Today: 01 Jan 2026\n2026-01-01|hi"


def test_the_day_is_an_argument():
    for given, expected in (
        (["strftime_now=2027-03-09"], "Today: 09 Mar 2027\n2027-03-09|hi"),
        (["strftime_now=2027-03-09", "date_string=May"], "Today: May\n2027-03-09|hi"),
    ):
        template = ChatTemplate(None, read_arguments(given))
        assert rendered(template.complete(TEMPLATE)) == expected
        again = ChatTemplate(None, read_arguments(template.given))
        assert again.complete(TEMPLATE) == template.complete(TEMPLATE)


@pytest.mark.parametrize("day", [datetime(2026, 1, 1), datetime(2028, 11, 22)])
def test_directives_are_those_of_the_library(day):
    template = ChatTemplate(None, read_arguments([f"strftime_now={day.date()}"]))
    text = template.complete("{{ strftime_now('" + DIRECTIVES + "') }}")
    assert rendered(text) == day.strftime(DIRECTIVES)


@pytest.mark.parametrize("value", ["tomorrow", "2026", "2026-02-30", "true"])
def test_another_value_than_a_date_is_refused(value):
    with pytest.raises(UsageError, match="is not a date"):
        read_arguments([f"strftime_now={value}"])


def test_a_template_without_a_clock_takes_no_day_and_stays_as_it_is():
    with pytest.raises(UsageError, match="does not read `strftime_now`"):
        ChatTemplate(None, read_arguments(["strftime_now=2026-01-01"])).complete("{{ messages }}")
    assert ChatTemplate().complete("{{ messages }}") == "{{ messages }}"


def test_a_merged_models_template_reads_the_clock():
    arguments = read_arguments(["strftime_now=2027-03-09", "date_string=May"])
    text = ChatTemplate(None, arguments, defaults=True).complete(TEMPLATE)
    assert rendered(text) == "Today: May\n1999-12-31|hi"
    assert rendered(text, date_string="June") == "Today: June\n1999-12-31|hi"


def test_a_note_says_which_day(tiny_model_dir):
    notes: list[str] = []
    base = find_base_model(str(tiny_model_dir))
    load_tokenizer(base, template=ChatTemplate(), notes=notes)
    assert notes == []
    load_tokenizer(base, template=ChatTemplate(TEMPLATE), notes=notes)
    (note,) = notes
    assert "always gets 2026-01-01" in note

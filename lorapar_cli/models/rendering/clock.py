"""The clock of chat templates: those of Llama 3.2, SmolLM3, gpt-oss and others write the day's date.

A run's stages would then be fed other tokens on another day, and a training that is resumed after
midnight other ones than before. So every day is the same one unless the user names another.
"""

import re
from datetime import date

from lorapar_cli.errors import UsageError

# The function that transformers offers to templates, and so the name of the argument.
CLOCK = "strftime_now"
DAY = date(2026, 1, 1)

_PADDED = "dmyjHIMS"
_OTHERS = "aAbBYp"


def reads_clock(template: str) -> bool:
    """Returns whether a template may write the date or time at which it is rendered."""
    return re.search(rf"\b{CLOCK}\b", template) is not None


def read_day(value: object) -> date:
    """Returns the day of `--template-arg strftime_now=YYYY-MM-DD`.

    Raises:
        UsageError: It is not a date.
    """
    try:
        return date.fromisoformat(str(value))
    except ValueError as cause:
        raise UsageError(
            f"`--template-arg {CLOCK}={value}` is not a date", hint=f"such as `{CLOCK}={DAY}`"
        ) from cause


def stopped_at(day: date) -> str:
    """Returns Jinja text that puts midnight of a day in place of the function `strftime_now`."""
    values = {f"%{letter}": day.strftime(f"%{letter}") for letter in _PADDED + _OTHERS}
    values |= {f"%-{letter}": values[f"%{letter}"].lstrip("0") or "0" for letter in _PADDED}
    values |= {"%e": f"{day.day:2d}", "%F": day.isoformat(), "%T": "00:00:00", "%R": "00:00"}
    # `%%` is a per cent sign, whose letter is no directive.
    pairs = [("%%", "\x00"), *values.items(), ("\x00", "%")]
    replaced = "".join(f".replace({_quoted(old)}, {_quoted(new)})" for old, new in pairs)
    return f"{{% macro {CLOCK}(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\x00", "\\x00") + '"'

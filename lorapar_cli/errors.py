"""The one class of expected errors; standard library only."""


class LoraparError(Exception):
    """Something a user can put right: shown as a message, never as a traceback.

    Args:
        what: One sentence without a period that says what is wrong, literals in backticks.
        found: What was found, where that helps to see the cause. Several lines are allowed.
        hint: What to do about it.
    """

    def __init__(self, what: str, found: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.found = found
        self.hint = hint

    def __str__(self) -> str:
        lines = [f"error: {_one_line(self.what)}"]
        if self.found:
            first, *rest = self.found.splitlines()
            lines += [f"  found: {first}", *(f"         {line}" for line in rest)]
        if self.hint:
            lines += ["", f"hint: {_one_line(self.hint)}"]
        return "\n".join(lines)


def _one_line(text: str) -> str:
    """Returns a sentence in which a line feed can only come from a name: it must not start a line."""
    return text.replace("\n", "\\n")


class UsageError(LoraparError):
    """The command line or the configuration is wrong, as opposed to what it points at (exit 2)."""


class Diverged(LoraparError):
    """Training left the finite numbers: the learning rate is too high."""


class LearntNothing(LoraparError):
    """No step of a training had a gradient, at whatever learning rate."""


def nearest(name: str, valid: list[str]) -> str:
    """Returns ", did you mean `x`?" for the closest valid name, or an empty string."""
    import difflib

    close = difflib.get_close_matches(name, valid, n=1)
    return f", did you mean `{close[0]}`?" if close else ""

"""Names on the Hugging Face Hub: repositories, licences. Standard library only."""

import re
from pathlib import Path

from lorapar_cli.errors import UsageError
from lorapar_cli.text_safety import hide_keys, looks_like_key

LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")
_PART = r"[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9])?"
_NAME = re.compile(rf"{_PART}(?:/{_PART})?")


def require_name(text: str, flag: str, *, owner: bool) -> None:
    """Checks that a text can be the name of a repository.

    Args:
        flag: The option that it was given by.
        owner: Whether it has to name its owner.

    Raises:
        UsageError: It cannot.
    """
    name = text.rpartition("/")[2]
    fits = _NAME.fullmatch(text) and "--" not in text and ".." not in text
    if not fits or name.endswith(".git") or (owner and "/" not in text) or looks_like_key(text):
        wanted = "`OWNER/NAME`" if owner else "`OWNER/NAME` or `NAME`"
        raise UsageError(
            f"`{flag}` takes the name of a repository, {wanted}, not `{hide_keys(text)}`",
            "letters, digits, `-`, `_` and `.`; no address and no path",
        )


def hub_id(base_id: str, revision: str | None) -> str | None:
    """Returns the id of a base model on the Hub; None for a folder, and for the embedded one."""
    local = base_id == "embedded" or Path(base_id).is_absolute()
    known = (revision or "").startswith("local:")
    return None if local or known or not _NAME.fullmatch(base_id) else base_id

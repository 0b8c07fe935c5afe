"""Text for others: no path of this machine, no address, no key."""

import os
import re
from collections.abc import Iterable
from pathlib import PurePosixPath, PureWindowsPath

from lorapar_cli.text_safety import make_inert, redact

# From a root or a home folder on. `a/b` is a name on the Hub, `https://...` an address.
_PATH = re.compile(r"(?<![\w.:/~\\-])(?:~[\w.-]*/|/|[A-Za-z]:[\\/]|\\\\)[^\s`'\"|,;()<>\[\]]+")
_RELATIVE = re.compile(r"^\.{1,2}[\\/]")
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s`'\"|,;()<>\[\]]+", re.IGNORECASE)
_PUBLIC = ("https://arxiv.org/", "https://huggingface.co/", "https://github.com/")


def base_name(path: str) -> str:
    """Returns the last part of a path of either system, `data.jsonl`; "." for none."""
    return PureWindowsPath(PurePosixPath(path).name).name or "."


def looks_like_path(text: str) -> bool:
    """Returns whether a text is the path of something on this machine and no name on the Hub."""
    return bool(
        _PATH.match(text)
        or _RELATIVE.match(text)
        or "\\" in text
        or text.count("/") > 1
        or ("/" in text and (PurePosixPath(text).suffix[1:].isalpha() or os.path.exists(text)))
    )


def without_places(text: str, secrets: Iterable[str] = ()) -> str:
    """Returns a text in which paths are their last parts, and addresses and keys are gone.

    Args:
        secrets: Keys that are known.
    """
    text = _URL.sub(lambda m: m[0] if m[0].startswith(_PUBLIC) else "[address]", text)
    text = _PATH.sub(lambda found: base_name(found[0]), text)
    return make_inert(redact(text, secrets))

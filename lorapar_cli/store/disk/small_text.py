"""Small text files that a person writes: settings, teachers, templates. Read whole, within bounds."""

import codecs
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.disk.regular_files import open_regular

# No person writes as much by hand; a file of data given by mistake is refused before it fills
# the memory.
MAX_BYTES = 1 << 18

_OTHER_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_small_text(path: Path) -> str:
    """Returns the text of a UTF-8 file, without its byte order mark, its lines ended by `\\n`.

    Raises:
        LoraparError: It is missing, not a regular file, too large, or not UTF-8 text.
    """
    try:
        with open_regular(path, "rb") as file:
            content: bytes = file.read(MAX_BYTES + 1)
    except OSError as cause:
        raise LoraparError(f"cannot read `{path}`", cause.strerror) from cause
    if len(content) > MAX_BYTES:
        raise LoraparError(
            f"`{path}` is too large to have been written by hand",
            f"more than {MAX_BYTES >> 10} KiB",
            "check the name of the file; was a file of data given instead?",
        )
    for mark, name in _OTHER_ENCODINGS:
        if content.startswith(mark):
            raise LoraparError(f"`{path}` is not UTF-8 text", f"it is {name}", "save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        line = content.count(b"\n", 0, cause.start) + 1
        raise LoraparError(
            f"`{path}` is not UTF-8 text",
            f"line {line}: byte {content[cause.start]:#04x}",
            "save it as UTF-8",
        ) from cause
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise LoraparError(
            f"`{path}` is not text", f"line {line}: a null byte", "check the name of the file"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")

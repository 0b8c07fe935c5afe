"""Blocks of reasoning (`<think>...</think>`) that a prompt opens and a completion closes."""

import re

NAMES = "think|thinking|thought|reasoning|seed:think|THINK"
# More tokens than an empty block of reasoning has, even one a character.
BLOCK_TOKENS = 40

_OPEN = re.compile(rf"[<\[](?:{NAMES})[>\]]")
_OPEN_AT_END = re.compile(rf"[<\[]({NAMES})[>\]]\s*\Z")
_CLOSING = re.compile(rf"[<\[]/(?:{NAMES})[>\]]")
# As the reader of answers knows thoughts.
_THOUGHT = "<think>"


def opens_block(text: str) -> str | None:
    """Returns the tag that closes the block which a prompt ends by opening, None if it opens none."""
    found = _OPEN_AT_END.search(text)
    if found is None:
        return None
    square = found[0].startswith("[")
    return f"[/{found[1]}]" if square else f"</{found[1]}>"


def may_open_block(template: str) -> bool:
    """Returns whether a chat template writes the tag that opens a block anywhere."""
    return _OPEN.search(template) is not None


def closes_block(text: str) -> bool:
    """Returns whether a completion closes a block, and so has reasoning of its own."""
    return _CLOSING.search(text) is not None


def as_read(completion: str, in_block: bool, finished: bool) -> str:
    """Returns a completion as answers are read from it.

    One that was truncated before it closed the block that its prompt had opened is a thought, and
    what it says last no answer.

    Args:
        in_block: Whether it began inside a block.
        finished: Whether it ended by itself.
    """
    if in_block and not finished and not closes_block(completion):
        return _THOUGHT + completion
    return completion

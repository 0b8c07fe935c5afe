"""Restores the indentation of a completion that is the body of a function."""

import re
from collections.abc import Iterator

from lorapar_cli.grading.python_source import expand_tabs, is_spent, mended
from lorapar_cli.grading.snippets import code_among_prose, is_broken_code, regions, split_fences

_CUTS_TRIED = 40
# `Use `return x` here.`
_INLINE = re.compile(r"(?<!`)`(return [^`\n]+)`(?!`)")


def body_indent(head: str, entry_point: str) -> str:
    """Returns the indentation of the body that a prompt waits for."""
    starts = re.compile(rf"([ \t]*)(?:async[ \t]+)?def[ \t]+{re.escape(entry_point)}\b")
    indent = None
    for line in head.split("\n"):
        if found := starts.match(line):
            indent = found[1]
    if indent is None:
        return "    "
    last = head.rstrip("\n").rpartition("\n")[2]
    own = last[: len(last) - len(last.lstrip())]
    return own if len(own) > len(indent) else f"{indent}    "


def bodies(answer: str, indent: str) -> Iterator[str]:
    """Yields the function's body in each way that a completion may contain it."""
    for region in regions(answer):
        fences, outside = split_fences(region)
        usable = [(each.text, not each.complete) for each in reversed(fences) if each.python]
        inline = [(text, False) for text in _INLINE.findall(outside)[-1:]]
        for text, cut_off in [
            *usable,
            (region.partition("```")[0], True),
            (outside, True),
            *inline,
        ]:
            for each in mended(text):
                yield from _indented(each, indent, cut_off)


def _indented(text: str, indent: str, cut_off: bool) -> Iterator[str]:
    """Yields a body with its indentation restored, then shorter and shorter beginnings of it."""
    lines = expand_tabs(text).strip("\n").rstrip().split("\n")
    first = next((n for n, line in enumerate(lines) if line[:1] == " " and line.strip()), None)
    starts = {0: None}
    # Sentences before the body are left out, but no line of a program.
    if first and not any(is_broken_code(line) for line in lines[:first]):
        starts[first] = None
    for start in starts:
        kept = lines[start:]
        ends = [n for n in range(1, len(kept)) if kept[n].strip() and kept[n][:1] != " "]
        for end in [len(kept), *reversed(ends[:_CUTS_TRIED])]:
            if is_spent():
                return
            after = code_among_prose("\n".join(kept[end:]), cut_off=cut_off)
            if after is None:
                continue
            for body in _reindented(kept[:end], indent):
                yield f"{body}\n\n{after}"


def _reindented(lines: list[str], indent: str) -> Iterator[str]:
    text = "\n".join(lines)
    yield text
    # Only the first line lost its indentation.
    yield "\n".join([indent + lines[0].lstrip(), *lines[1:]])
    spaces = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    least = min(spaces, default=0)
    yield "\n".join(indent + line[least:] if line.strip() else "" for line in lines)
    if len(spaces) > 1 and spaces[0] != spaces[1]:
        # The first line has another indentation than the rest.
        rest = min(spaces[1:])
        moved = [indent + line[rest:] if line.strip() else "" for line in lines[1:]]
        yield "\n".join([indent + lines[0].lstrip(), *moved])

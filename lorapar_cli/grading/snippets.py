"""Finds the pieces of a completion that may be code: fences, tags, statements among prose."""

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from lorapar_cli.grading.python_source import bound_names, mended, parse
from lorapar_cli.grading.reading.clean import final_channel

# A tag in quotes is a text of the program.
_THOUGHT_NAMES = r"(?:think(?:ing)?|thoughts?|reasoning|analysis|reflection|scratchpad)"
_THOUGHT = re.compile(rf"(?<![\"'`])(?:<{_THOUGHT_NAMES}>|\[THINK\])", re.IGNORECASE)
# Three of them end a fence.
_THOUGHT_END = re.compile(
    rf"(?:(?<=```)|(?<![\"'`]))(?:</{_THOUGHT_NAMES}>|\[/THINK\])", re.IGNORECASE
)
_CHANNELS = re.compile(r"<\|channel\|>|\Aanalysis(?=[A-Z])")
_END = re.compile(
    r"(?<![\"'`])(?:<\|(?:endoftext|im_end|eot_id|end_of_text|end|return)\|>|<end_of_turn>|<EOT>"
    r"|<｜end▁of▁sentence｜>|</s>[ \t\n]*\Z)"
)
_TAGS = ("answer", "solution", "code", "python", "final_answer", "output")
_OPENING_TAG = re.compile(
    rf"(?<![\"'`])(?:<({'|'.join(_TAGS)})>|\[(PYTHON|ANSWER|CODE|SOLUTION|BEGIN)\]|\\begin{{(code|python)}})",
    re.IGNORECASE,
)
_FENCE = re.compile(r"[ \t>]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?(`{3,}|~{3,})(.*)")
_LANGUAGE = re.compile(r"[ \t]*(?:\{[^{}]*\}|[\w+#.-]*)")
_OTHER_LANGUAGES = {
    *("bash", "sh", "shell", "console", "text", "txt", "plaintext", "output", "json", "yaml"),
    *("diff", "javascript", "js", "java", "c", "cpp", "c++", "rust", "go", "markdown", "md"),
}
_CLOSINGS_TRIED = 8
_FENCES_KEPT = 50


@dataclass(frozen=True)
class Fence:
    """A fenced block.

    Attributes:
        text: Its content, without the indentation and quotation marks of the opening line.
        complete: Whether it is closed.
        python: Whether its language may be Python.
    """

    text: str
    complete: bool
    python: bool


def without_thoughts(text: str) -> str:
    """Returns what follows a model's thoughts, up to the end of its turn; empty if they never end."""
    if _CHANNELS.search(text):
        text = final_channel(text)
    ends = [found.end() for found in _THOUGHT_END.finditer(text)]
    begins = _THOUGHT.search(text)
    if ends:
        before = text[: begins.start()] if begins else ""
        after = text[ends[-1] :]
        text = after if after.strip() else before
    if begins := _THOUGHT.search(text):
        text = text[: begins.start()]
    end = _END.search(text)
    return text[: end.start()] if end else text


def regions(text: str) -> Iterator[str]:
    """Yields what stands in tags such as `<answer>`, the last first, then the whole text."""
    for opened in reversed(list(_OPENING_TAG.finditer(text))[-_CLOSINGS_TRIED:]):
        name = next(filter(None, opened.groups()))
        closings = {"<": f"</{name}>", "[": f"[/{name}]", "\\": f"\\end{{{name}}}"}
        closing = "[done]" if name.upper() == "BEGIN" else closings[opened[0][0]].lower()
        inside, found, _ = _partition(text[opened.end() :], closing)
        # A tag in the middle of a line of code is not a tag.
        line = text[text.rfind("\n", 0, opened.start()) + 1 : opened.start()]
        if found or not line.strip():
            yield inside
    yield text


def _partition(text: str, closing: str) -> tuple[str, str, str]:
    place = text.lower().find(closing)
    # Lowercasing may change the length of a text in scripts that have no such tags.
    if place < 0 or len(text.lower()) != len(text):
        return text.partition(closing)
    end = place + len(closing)
    return text[:place], text[place:end], text[end:]


@functools.lru_cache(maxsize=8)
def split_fences(text: str) -> tuple[list[Fence], str]:
    """Returns the last fenced blocks in order, and the text outside of all.

    A fence that does not compile up to its closing line may contain one, in a docstring: it goes on
    to a later closing line if it compiles up to there.
    """
    lines = text.split("\n")
    fences: list[Fence] = []
    outside: list[str] = []
    at = 0
    while at < len(lines):
        opened = _open(lines[at])
        if opened is None:
            outside.append(lines[at])
            at += 1
            continue
        before, mark, info = opened
        if before.strip():
            outside.append(before)
        fence, at = _read(lines, at, mark, info)
        fences.append(fence)
    return fences[-_FENCES_KEPT:], "\n".join(outside)


def _open(line: str) -> tuple[str, str, str] | None:
    """Returns what stands before an opening fence, its mark, and what follows it."""
    if found := _FENCE.match(line):
        return "", found[1], found[2]
    # "The code is: ```python"
    place = line.find("```")
    if place > 0 and "`" not in line[:place] and not line.lstrip().startswith("#"):
        rest = line[place:].lstrip("`")
        if _LANGUAGE.fullmatch(rest.strip()) and rest.strip():
            return line[:place], "```", rest
    return None


def _read(lines: list[str], at: int, mark: str, info: str) -> tuple[Fence, int]:
    """Returns the fence that a line opens, and the line after it."""
    language = _LANGUAGE.match(info)
    tag = language[0].strip().lower() if language else ""
    rest = info[language.end() :] if language else info
    python = tag not in _OTHER_LANGUAGES
    # "```python def f(x):", or all of it in one line.
    inline = [rest.strip()] if rest.strip() else []
    if inline and inline[0].endswith(mark):
        return Fence(inline[0].rstrip(mark[0]), True, python), at + 1
    prefix = lines[at][: len(lines[at]) - len(lines[at].lstrip(" \t>"))]
    ends = list(_closings(lines, at + 1, mark))
    tried: list[tuple[str, int]] = []
    for end, last in ends or [(len(lines), "")]:
        body = [_unquote(line, prefix) for line in lines[at + 1 : end]]
        content = "\n".join([*body, last] if last else body)
        for own in [content] if not inline else [content, "\n".join([*inline, content])]:
            tried.append((own, end + 1))
            if own.strip() and any(parse(each) for each in mended(own)):
                if inline and own is content and not _adds_nothing(inline[0]):
                    continue
                return Fence(own, bool(ends), python), end + 1
    return Fence(tried[0][0], bool(ends), python), tried[0][1]


def _adds_nothing(rest: str) -> bool:
    """Returns whether what follows a language is no code: a title, a list of attributes."""
    return parse(rest + ("\n    pass" if rest.endswith(":") else "")) is None or "=" in rest


def _closings(lines: list[str], start: int, mark: str) -> Iterator[tuple[int, str]]:
    """Yields the lines that may close a fence, each with the code that stands before its mark."""
    count = 0
    for number in range(start, len(lines)):
        text = lines[number].strip(" \t>")
        if not text.endswith(mark[0] * 3):
            continue
        before = text.rstrip(mark[0])
        if len(text) - len(before) < len(mark):
            continue
        indent = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
        yield number, indent + before.rstrip() if before.strip() else ""
        count += 1
        if count == _CLOSINGS_TRIED:
            return


def _unquote(line: str, prefix: str) -> str:
    """Returns a line without the quotation marks that its fence has."""
    if ">" not in prefix:
        return line.removeprefix(prefix)
    return (
        line.removeprefix(prefix) if line.startswith(prefix) else line.removeprefix(prefix.rstrip())
    )


# A top-level line that goes on with the statement before it.
_GOES_ON = re.compile(r"[)\]}]|(?:else|elif|except|finally)\b")
_MAY_GO_ON = re.compile(
    r"[@(\[{]|.*(?:\"\"\"|'''|[(\[{\\,]\s*$)|(?:async|class|def|for|if|try|while|with)\b"
)
_CODE = re.compile(
    r"(?:async\s+)?def\s+\w+\s*\(|class\s+\w+\s*[:(]|import\s+\w[\w.]*\s*$|from\s+[\w.]+\s+import\b"
    r"|for\s+[^:]{1,200}\sin\s.*:$|@\w+"
)
_CALL = re.compile(r"[A-Za-z_][\w.]*\s*(?:\(|=[^=])")
_LONGEST_AMONG_PROSE = 100_000
_ATTEMPTS = 300
_PARTS_JOINED = 24


def code_among_prose(text: str, definitions_only: bool = False, cut_off: bool = True) -> str | None:
    """Returns the statements of a text that also has sentences; empty where there are none.

    None where a statement is broken: it is not for us to leave a part of a program out.

    Args:
        definitions_only: Leave out what computes something when it runs.
        cut_off: Whether the text may end within a statement, which is left out.
    """
    if len(text) > _LONGEST_AMONG_PROSE:
        return None
    parts = _parts(text.split("\n"))
    kept: list[str] = []
    at, attempts = 0, 0
    while at < len(parts) and attempts < _ATTEMPTS:
        found, reach = None, 1
        joined = _PARTS_JOINED if _MAY_GO_ON.match(parts[at]) else 1
        for reach in range(1, min(joined, len(parts) - at) + 1):
            attempts += 1
            candidate = "\n".join(parts[at : at + reach])
            if (tree := parse(candidate)) is not None:
                found = candidate
                break
        if found is None:
            ends = cut_off and at + 1 == len(parts)
            if is_broken_code(parts[at]) and not ends:
                return None
            at += 1
            continue
        if tree is not None and not _is_sentence(tree, definitions_only):
            kept.append(found)
        at += reach
    return "\n".join(kept)


def _parts(lines: list[str]) -> list[str]:
    """Returns the lines of each statement at the margin, with what is indented below it."""
    parts: list[list[str]] = []
    for line in lines:
        if not line.strip():
            if parts:
                parts[-1].append(line)
        elif parts and (line[0] in " \t" or _GOES_ON.match(line)):
            parts[-1].append(line)
        else:
            parts.append([line])
    return ["\n".join(part) for part in parts]


def _is_sentence(tree: ast.Module, definitions_only: bool) -> bool:
    """Returns whether statements are words that happen to be Python, such as `Explanation`."""
    computes = (ast.Expr, ast.Assert, ast.For, ast.While, ast.If)
    return all(
        (isinstance(each, ast.Expr) and not isinstance(each.value, ast.Call | ast.Await))
        or (isinstance(each, ast.AnnAssign) and each.value is None)
        or (definitions_only and isinstance(each, computes))
        for each in tree.body
    )


def has_words(tree: ast.Module) -> bool:
    """Returns whether a program contains a word that is Python by chance: `Explanation`, `[DONE]`."""
    said = [each.value for each in tree.body if isinstance(each, ast.Expr)]
    inside = [
        each.elts[0] if isinstance(each, ast.List) and len(each.elts) == 1 else each
        for each in said
    ]
    words = [each.id for each in inside if isinstance(each, ast.Name)]
    bound = {
        name for each in ast.walk(tree) if isinstance(each, ast.stmt) for name in bound_names(each)
    }
    return any(word not in bound for word in words)


def is_broken_code(part: str) -> bool:
    """Returns whether text that is not Python was meant to be: the beginning of a statement."""
    line = part.split("\n", 1)[0]
    if _CODE.match(line):
        return True
    opened = sum(part.count(mark) for mark in "([{") - sum(part.count(mark) for mark in ")]}")
    return _CALL.match(line) is not None and opened != 0

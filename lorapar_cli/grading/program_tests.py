"""Whether a programming task's tests test anything, before any program is written or run."""

import ast
from collections.abc import Mapping, Sequence

from lorapar_cli.errors import LoraparError
from lorapar_cli.grading.programs import Code
from lorapar_cli.grading.python_source import bound_names, clean, parse, top_level

_HINT = (
    "the tests of a program define `check(candidate)`, which calls the candidate, or call the "
    "function `entry_point` themselves"
)


def check_tests(code: Code, where: str) -> None:
    """Refuses tests that every program would pass, or none.

    Args:
        where: The record, for the message.

    Raises:
        LoraparError: The tests are not Python, or call neither the candidate nor the function.
    """
    if not code.entry_point.isidentifier():
        raise LoraparError(
            f"{where} has no function to test", f"`entry_point` is {code.entry_point!r}", _HINT
        )
    tree = parse(clean(code.test))
    if tree is None:
        raise LoraparError(f"the tests of {where} are not valid Python", _first_error(code.test))
    functions = {
        statement.name: statement
        for statement in top_level(tree)
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    run: list[ast.AST] = [each for each in tree.body if each not in functions.values()]
    if (check := functions.get("check")) is not None:
        if isinstance(check, ast.FunctionDef) and _uses_candidate(
            check, code.entry_point, functions
        ):
            return
    elif any("check" in bound_names(each) for each in top_level(tree)):
        return  # Imported, or made by another function.
    if not _reaches(run, code.entry_point, functions):
        what = "never calls its candidate" if check is not None else "and no call of the function"
        raise LoraparError(
            f"the tests of {where} test nothing",
            f"`check` {what}" if check is not None else f"no `check` {what} `{code.entry_point}`",
            _HINT,
        )


def _uses_candidate(
    check: ast.FunctionDef, entry_point: str, functions: Mapping[str, ast.stmt]
) -> bool:
    arguments = [*check.args.posonlyargs, *check.args.args]
    names = {entry_point, *(each.arg for each in arguments[:1])}
    if check.args.vararg:
        names.add(check.args.vararg.arg)
    return any(_reaches(check.body, name, functions) for name in names)


def _reaches(nodes: Sequence[ast.AST], name: str, functions: Mapping[str, ast.stmt]) -> bool:
    """Returns whether code that runs uses a name, itself or in a function that it uses."""
    pending, seen = list(nodes), set()
    while pending:
        for node in ast.walk(pending.pop()):
            if not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)):
                continue
            if node.id == name:
                return True
            if node.id in functions and node.id not in seen:
                seen.add(node.id)
                pending.append(functions[node.id])
    return False


def _first_error(test: str) -> str:
    try:
        compile(clean(test), "test", "exec")
    except (SyntaxError, ValueError) as error:
        return str(error)
    return "it is too long or too deeply nested"

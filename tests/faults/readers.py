"""Files of records that hold what no record holds, and readers given a megabyte of one token."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.harness import Case, Lost, make_logs, run
from tests.faults.limits import TooLong, processor_limit
from tests.faults.pipeline import pipeline

RECORDS = "records of wrong types"
LONG = "a megabyte of one token"
BYTES = 1_000_000
SECONDS = 4.0

# Field -> what stands there instead, as JSON text; `...` leaves it out.
WRONG: list[tuple[str, str]] = [
    *(("prompt", text) for text in ("null", "5", "true", "[]", "{}", '["a"]', "...", "[[]]")),
    *(("completion", text) for text in ("null", "5", "[]", '{"a": 1}', "...")),
    *(("id", text) for text in ("null", "[]", "{}", "...")),
    *(("label", text) for text in ('"system3"', "5", "[]", "{}")),
    *(("votes", text) for text in ("null", "5", '"a"', "[]", '{"a": 5}', '{"a": "x"}')),
    *(("agreement", text) for text in ('"a"', "[]", "{}", "true")),
    *(("reference_answer", text) for text in ("[]", "{}", "true")),
    ("prompt", '"half \\ud800 a character"'),
    ("completion", '"half \\udfff a character"'),
    ("reference_answer", '"\\ud800"'),
    ("prompt", '[{"role": "user", "content": "\\ud800"}]'),
    ("prompt", '[{"role": "user"}]'),
    ("prompt", '[{"content": "a"}]'),
    ("prompt", '[{"role": 5, "content": "a"}]'),
    ("prompt", '[{"role": "user", "content": null}]'),
    ("prompt", '[{"role": "user", "content": {"a": 1}}]'),
    ("prompt", '["user"]'),
]
LINES: dict[str, bytes] = {
    "not JSON": b"{id: 1}",
    "cut off": b'{"id": "a", "prompt": "b',
    "a list": b"[1, 2]",
    "a number": b"5",
    "null": b"null",
    "text": b'"a"',
    "an empty object": b"{}",
    "not UTF-8": b'{"id": "\xff", "prompt": "a", "completion": "b"}',
    "UTF-16": '{"id": "a"}'.encode("utf-16"),
    "deep nesting": b'{"id": ' + b"[" * 100_000,
    "deep nesting in a field": b'{"id": "a", "prompt": "b", "completion": "c", "x": '
    + b"[" * 900
    + b"]" * 900
    + b"}",
    "a null byte": b'{"id": "\x00"}',
    "ten thousand digits": b'{"id": "a", "prompt": "b", "completion": "c", "x": ' + b"9" * 10_000,
    "two objects": b'{"id": "a"} {"id": "b"}',
}
HARMLESS = ("deep nesting in a field",)
STAGES = {
    "score": ("system2.jsonl", "--splits"),
    "train-sft": ("system1.jsonl", "--splits"),
    "train-rl": ("system2.jsonl", "--splits"),
    "eval": ("heldout.jsonl", "--data"),
}
# One token each of what a reader looks for, closes, skips or counts.
TOKENS = (
    *(
        "#### ",
        "\\boxed{",
        "(",
        "{",
        "}",
        "1,",
        "1,000",
        "$",
        "<answer>",
        "</answer>",
        "<think>",
        " ",
    ),
    *(
        "\n",
        "9",
        "1 ",
        ".",
        "-",
        "a",
        "a ",
        "```\n",
        "answer is ",
        "System 1 ",
        "not ",
        '{"label": "',
    ),
    *(
        "\\frac{1}{",
        "1½",
        "\u00a0",
        "1/2 ",
        "**",
        "(B)",
        "Question:",
        "= ",
        "10^",
        "x=",
        "two hundred ",
    ),
)


def cases(_: int) -> Iterator[Case]:
    for number, (field, text) in enumerate(WRONG):
        for stage in STAGES if number % 2 == 0 else ("score", "train-sft"):
            name = f"{stage}, {field}: {text}"
            yield Case(RECORDS, name, partial(_wrong_field, stage, field, text))
    for name in LINES:
        for stage in STAGES:
            yield Case(RECORDS, f"{stage}, a line of {name}", partial(_wrong_line, stage, name))
    for reader in READERS:
        yield Case(LONG, reader, partial(_long, reader), quick=reader == "label parser")


def _wrong_field(stage: str, field: str, text: str, folder: Path) -> None:
    source = pipeline().root / "run" / "classify" / STAGES[stage][0]
    record = json.loads(source.read_text(encoding="utf-8").splitlines()[1])
    pairs = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in record.items() if k != field]
    own = [] if text == "..." else [f"{json.dumps(field)}: {text}"]
    # The other formats that eval reads need not have these fields at all.
    required = stage != "eval" or field in ("prompt", "completion")
    refused = not (stage == "eval" and text in ("5", "true", "..."))
    _run(stage, f"{{{', '.join([*pairs, *own])}}}".encode(), required and refused, folder)


def _wrong_line(stage: str, name: str, folder: Path) -> None:
    _run(stage, LINES[name], name not in HARMLESS, folder)


def _run(stage: str, line: bytes, refused: bool, folder: Path) -> None:
    """Runs a stage on records whose second line is this one."""
    logs = make_logs(folder)
    run_dir = pipeline().before(folder, stage)
    file, option = STAGES[stage]
    (folder / "own").mkdir()
    for each in (run_dir / "classify").glob("*.jsonl"):
        lines = each.read_bytes().splitlines()
        if each.name == file:
            lines[1] = line
        (folder / "own" / each.name).write_bytes(b"\n".join(lines) + b"\n")
    given = f"own/{file}" if option == "--data" else "own"
    done = run([*pipeline().command(stage), option, given], logs, cwd=folder).require_sane()
    if refused or done.code != 0:
        done.require_refused(f"{file}:2")


def _grade(match: str) -> Callable[[str, Path], Any]:
    def read(text: str, _: Path) -> None:
        from lorapar_cli.grading.grade import grade

        grade(match, [text, "#### 18"], ["18", text])

    return read


def _strict(text: str, _: Path) -> None:
    from lorapar_cli.grading import answers

    answers.strict_match("18", text)
    answers.strict_match(text, text)
    answers.extract_strict(text)


def _parts(text: str, _: Path) -> None:
    from lorapar_cli.grading import answers

    answers.parse_number(text)
    answers.explicit_answers(text)
    answers.extract_choice(text)
    answers.answers_match(text, text[:-1])
    answers.answers_match(f"1{text}", f"2{text}")


def _label(text: str, _: Path) -> None:
    from lorapar_cli.labelling.teachers.label_parser import parse_cut_label, parse_label

    parse_label(text)
    parse_cut_label(text)


def _rules(text: str, _: Path) -> None:
    from lorapar_cli.labelling.teachers.rules import RULES
    from lorapar_cli.store.records import Record

    for _version, rule in RULES.values():
        rule(Record("a", text, "#### 1"))
        rule(Record("a", "What is it?", text))


def _program(text: str, _: Path) -> None:
    from lorapar_cli.grading.programs import Code, to_program

    to_program(Code("def f():\n", "f", "def check(f): pass"), text)


def _rewards(text: str, _: Path) -> None:
    from lorapar_cli.training.rewards.builtin import REWARDS

    for reward in REWARDS.values():
        reward([text, "18"], ["18", text])


def _template_of_prompts(text: str, folder: Path) -> None:
    from lorapar_cli.labelling.teachers.label_prompt import read_prompt
    from lorapar_cli.store.records import Record

    prompt = read_prompt(None, role_play=True, student=text, description=text)
    prompt.messages(Record("a", text, text))


def _data(suffix: str, field: str) -> Callable[[str, Path], Any]:
    def read(text: str, folder: Path) -> None:
        from lorapar_cli.data.readers import open_source

        path = folder / f"data{suffix}"
        path.write_text(json.dumps({"question": "a", field: text}) + "\n", encoding="utf-8")
        list(open_source(str(path)).records())

    return read


READERS: dict[str, Callable[[str, Path], Any]] = {
    "grade, answer": _grade("answer"),
    "grade, exact": _grade("exact"),
    "grade, choice": _grade("choice"),
    "strict match": _strict,
    "parts of answers": _parts,
    "label parser": _label,
    "rules": _rules,
    "programs": _program,
    "rewards": _rewards,
    "label prompt": _template_of_prompts,
    "data, completion": _data(".jsonl", "answer"),
}


def _long(name: str, folder: Path) -> None:
    slow = [token for token in TOKENS if _is_slow(name, token, folder)]
    if slow:
        raise Lost(f"over {SECONDS:g} s for {BYTES:,} bytes of each of {slow}")


def _is_slow(name: str, token: str, folder: Path) -> bool:
    text = token * (BYTES // len(token.encode()))
    try:
        with processor_limit(SECONDS):
            READERS[name](text, folder)
    except TooLong:
        return True
    return False

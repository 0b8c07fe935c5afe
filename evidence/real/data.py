"""ARC, BoolQ and GSM8K as records, in the answer forms that the controls need.

A folder with

    arc/challenge_train.json, arc/challenge_test.json, boolq/train.json
    gsm8k/train.jsonl, gsm8k/test.jsonl

The first three are `dataset/ARC-Challenge` and `dataset/boolq` of AGI-Edgerunners/LLM-Adapters on
GitHub (ODC-By), with the fields `instruction`, `output` and `answer`; the last two are
`grade_school_math/data` of openai/grade-school-math (MIT).
"""

import hashlib
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import System

FILES = (
    "arc/challenge_train.json",
    "arc/challenge_test.json",
    "boolq/train.json",
    "gsm8k/train.jsonl",
    "gsm8k/test.jsonl",
)
SENTENCE = "the correct answer is {}"
_OPTION = re.compile(r"Answer(\d): (.*?)(?= Answer\d: |\n\nAnswer format)", re.DOTALL)
_ORDER_SEED = 2507

Row = dict[str, Any]
"""`id`, `prompt`, `completion`, `reference_answer`, `label`."""


def require_data(folder: Path | None) -> Path:
    """Returns the folder, which has every file.

    Raises:
        LoraparError: It was not named, or lacks a file.
    """
    hint = "its layout, and where the files come from, is in `evidence/real/data.py`"
    if folder is None:
        raise LoraparError("this study needs public data", "no `--data`", hint)
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise LoraparError(f"`{folder}` lacks `{missing[0]}`", f"{len(missing)} files", hint)
    return folder


def digests(folder: Path) -> dict[str, str]:
    """Returns the sha256 of each file."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}


def read_rows(folder: Path, name: str) -> list[Row]:
    """Returns the records of one file in an order that a seed decides.

    The label is the source's: ARC and BoolQ are System 1, GSM8K is System 2.
    """
    text = (folder / name).read_text(encoding="utf-8")
    if name.endswith(".jsonl"):
        rows = [_math_row(json.loads(line)) for line in text.splitlines() if line.strip()]
    else:
        rows = [_choice_row(source) for source in json.loads(text)]
    for number, row in enumerate(rows):
        row["id"] = f"{name.partition('.')[0]}/{number}"
    random.Random(f"{_ORDER_SEED} {name}").shuffle(rows)
    return rows


def _choice_row(source: dict[str, str]) -> Row:
    return {
        "prompt": source["instruction"].strip(),
        "completion": source["output"].strip(),
        "reference_answer": source["answer"].strip(),
        "label": System.SYSTEM1.value,
    }


def _math_row(source: dict[str, str]) -> Row:
    answer = source["answer"].rpartition("####")[2].strip()
    # The calculator's notes are not part of the text that people write.
    working = re.sub(r"<<[^>]*>>", "", source["answer"])
    return {
        "prompt": source["question"].strip(),
        "completion": working.strip(),
        "reference_answer": answer,
        "label": System.SYSTEM2.value,
    }


def options_of_question(prompt: str) -> list[str]:
    """Returns the words of each option of a question of ARC."""
    return [words.strip() for _, words in _OPTION.findall(prompt)]


def in_words(row: Row) -> Row:
    """Returns a question of ARC that is answered by the words of the option, not by its name."""
    number = int(row["reference_answer"].removeprefix("answer"))
    words = options_of_question(row["prompt"])[number - 1]
    prompt = row["prompt"].partition("\n\nAnswer format")[0]
    return row | {"prompt": prompt, "completion": words, "reference_answer": words}


def in_a_sentence(row: Row) -> Row:
    """Returns a problem of GSM8K that is answered without its working, in ARC's sentence."""
    return row | {
        "prompt": f"{row['prompt']}\n\nAnswer format: a number",
        "completion": SENTENCE.format(row["reference_answer"]),
    }


def as_system(rows: Sequence[Row], system: System) -> list[Row]:
    """Returns the rows with another label, and ids that do not collide with their originals'."""
    return [row | {"label": system.value, "id": f"{row['id']}/{system.value}"} for row in rows]

"""MMLU as published: 57 subjects in four groups, the harness's text, and the CSV files."""

import csv
from collections.abc import Iterator
from pathlib import Path

from lorapar_cli.errors import LoraparError

GROUPS = {
    "stem": "abstract_algebra anatomy astronomy college_biology college_chemistry "
    "college_computer_science college_mathematics college_physics computer_security "
    "conceptual_physics electrical_engineering elementary_mathematics high_school_biology "
    "high_school_chemistry high_school_computer_science high_school_mathematics "
    "high_school_physics high_school_statistics machine_learning",
    "humanities": "formal_logic high_school_european_history high_school_us_history "
    "high_school_world_history international_law jurisprudence logical_fallacies moral_disputes "
    "moral_scenarios philosophy prehistory professional_law world_religions",
    "social_sciences": "econometrics high_school_geography high_school_government_and_politics "
    "high_school_macroeconomics high_school_microeconomics high_school_psychology "
    "human_sexuality professional_psychology public_relations security_studies sociology "
    "us_foreign_policy",
    "other": "business_ethics clinical_knowledge college_medicine global_facts human_aging "
    "management marketing medical_genetics miscellaneous nutrition professional_accounting "
    "professional_medicine virology",
}
GROUP_OF = {subject: group for group, names in GROUPS.items() for subject in names.split()}
LETTERS = "ABCD"


def describe_question(row: dict) -> str:
    """Returns a question with its four choices, up to and with `Answer:`.

    Raises:
        LoraparError: It does not have four choices.
    """
    if len(row["choices"]) != len(LETTERS):
        raise LoraparError(
            f"an MMLU question has {len(row['choices'])} choices, not {len(LETTERS)}",
            row["question"],
        )
    options = "".join(
        f"{letter}. {choice}\n" for letter, choice in zip(LETTERS, row["choices"], strict=True)
    )
    return f"{row['question'].strip()}\n{options}Answer:"


def describe_task(subject: str) -> str:
    """Returns the sentence before a subject's questions."""
    return (
        "The following are multiple choice questions (with answers) about "
        f"{subject.replace('_', ' ')}.\n\n"
    )


def answer_letter(row: dict) -> str:
    """Returns the correct choice's letter; the source may have it as a number from 0.

    Raises:
        LoraparError: It is neither.
    """
    answer = str(row["answer"]).strip().upper()
    letter = LETTERS[int(answer)] if answer in ("0", "1", "2", "3") else answer
    if letter not in tuple(LETTERS):
        raise LoraparError(
            f"an MMLU answer is not one of A, B, C, D: `{row['answer']}`", row["question"]
        )
    return letter


def read_published(folder: Path, split: str) -> Iterator[dict]:
    """Yields the rows of the published CSV files, `<split>/<subject>_<split>.csv`.

    Raises:
        LoraparError: There is no such file, or a line does not have six cells.
    """
    files = sorted((folder / split).glob(f"*_{split}.csv"))
    if not files:
        raise LoraparError(
            f"no MMLU files in `{folder}`",
            f"`{folder / split}` has no `*_{split}.csv`",
            "give the published folder (with `dev` and `test`), or one JSONL file",
        )
    for path in files:
        subject = path.name.removesuffix(f"_{split}.csv")
        with open(path, encoding="utf-8", newline="") as file:
            for number, cells in enumerate(csv.reader(file), 1):
                if len(cells) != 6:
                    raise LoraparError(f"`{path}:{number}` has {len(cells)} cells, not 6")
                question, *choices, answer = cells
                yield {
                    "subject": subject,
                    "question": question,
                    "choices": choices,
                    "answer": answer,
                }

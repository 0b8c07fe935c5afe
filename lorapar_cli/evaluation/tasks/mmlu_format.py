"""MMLU as published: 57 subjects in four groups, what a row holds, and the harness's text."""

from lorapar_cli.data.rows import kind_of, parse_json_text
from lorapar_cli.errors import LoraparError
from lorapar_cli.plurals import counted

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
            f"an MMLU question has {counted(len(row['choices']), 'choice')}, not {len(LETTERS)}",
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
    letter = _letter(row["answer"])
    if letter is None:
        raise LoraparError(
            f"an MMLU answer is not one of A, B, C, D: `{row['answer']}`", row["question"]
        )
    return letter


def _letter(answer: object) -> str | None:
    text = str(answer).strip().upper()
    letter = LETTERS[int(text)] if text in ("0", "1", "2", "3") else text
    return letter if letter in tuple(LETTERS) else None


def checked_row(row: dict, place: str) -> dict:
    """Returns a row with its choices as a list.

    Args:
        row: Its choices are a list, the JSON text of one, or in fields A to D.
        place: File and line, or the like, for messages.

    Raises:
        LoraparError: The question is not text, there are not four choices, or the answer is none of
            them.
    """
    choices = row.get("choices")
    if choices is None and all(row.get(letter) is not None for letter in LETTERS):
        choices = [row[letter] for letter in LETTERS]
    if isinstance(choices, str):
        choices = parse_json_text(choices)
    problem = None
    if not isinstance(row["question"], str):
        problem = f"its question is {kind_of(row['question'])}, not text"
    elif not isinstance(choices, list):
        problem = f"its choices are {kind_of(choices)}, not a list of {len(LETTERS)}"
    elif len(choices) != len(LETTERS):
        problem = f"it has {counted(len(choices), 'choice')}, not {len(LETTERS)}"
    elif _letter(row["answer"]) is None:
        problem = f"its answer is {row['answer']!r}, not one of A, B, C, D or 0 to 3"
    if problem is not None:
        raise LoraparError(f"`{place}` is not an MMLU question", problem)
    return row | {"choices": choices}

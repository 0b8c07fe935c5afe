"""Examples before a question: never the question itself, whichever file both come from."""

import unicodedata
from collections.abc import Sequence

# Dashes and quotation marks that typesetting changes.
_TYPESET = str.maketrans("‐‑‒–—−‘’‚“”„", "------'''\"\"\"")
_ENDING = ".?!:"


def question_form(text: str, choices: Sequence[str] = ()) -> str:
    """Returns the form that two spellings of one question share.

    Case, spacing, typesetting and the last mark of punctuation make no difference, and neither does
    the order of the choices. With other choices it is another question: in MMLU, many questions ask
    "Which of these is true?".
    """
    return "\n".join([_plain(text), *sorted(_plain(str(choice)) for choice in choices)])


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).translate(_TYPESET).casefold()
    return "".join(
        character
        for character in folded
        # Control and format characters, soft hyphens among them, are not seen.
        if not character.isspace() and not unicodedata.category(character).startswith("C")
    ).rstrip(_ENDING)


def others(forms: Sequence[str], question: str) -> list[int]:
    """Returns the numbers of the examples that are not the question.

    Args:
        forms: Of the examples, by `question_form`.
        question: Its form.
    """
    return [number for number, form in enumerate(forms) if form != question]

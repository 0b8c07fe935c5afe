"""The layouts of public data sets: which fields hold the question, and which its answer.

What else a question needs is read in every layout: passages, options, a system message, earlier
turns. A row goes by the first layout whose fields it has.
"""

from dataclasses import dataclass
from typing import Any

from lorapar_cli.data.choices import CHOICE_FIELDS, has_choices, require_choices
from lorapar_cli.data.rows import BadRow, RowReader

# Fields with a final answer, those first that hold nothing else.
ANSWER_FIELDS = (
    *("reference_answers", "reference_answer", "final_answer", "answerKey", "answer_idx"),
    *("answer", "answers", "target", "expected_answer", "correct_answer", "ground_truth"),
)
# Fields that name an option, and nothing else: ARC's, MedQA's, AQuA's, MedMCQA's.
KEY_FIELDS = ("answerKey", "answer_idx", "correct", "cop")
PASSAGE_FIELDS = ("context", "passage", "article")
SYSTEM_FIELDS = ("system", "system_prompt")
# Fields that part of a question would be in, looked for among those that are not used.
QUESTION_LIKE = {
    *("question", "instruction", "problem", "query", "prompt", "input", "text", "stem"),
    *(*PASSAGE_FIELDS, "passages", "document", "documents", "paragraph", "story", "background"),
    *(*CHOICE_FIELDS, *SYSTEM_FIELDS, "history", "premise", "hypothesis", "sentence", "hint"),
    *("table", "image", "images", "audio", "video", "examples", "tools"),
}
_WORKED = "solution output response completion rationale"


@dataclass(frozen=True)
class Layout:
    """One layout of data.

    Attributes:
        question: Fields that may hold the question; a row has one of them.
        completion: Fields that may hold the completion; a row has one of them, and of several
            the first counts. Empty where the completion is one of the question's messages.
        required: Further fields that a row has.
        requires_choices: Whether a row has options.
        reads_choices: Whether options become part of the question.
        reads_parts: Whether anything but the question's own field becomes part of it.
        question_first: Whether passages stand behind the question.
        has_tests: Whether the tests that a program must pass are part of the question.
    """

    name: str
    question: tuple[str, ...]
    completion: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    requires_choices: bool = False
    reads_choices: bool = True
    reads_parts: bool = True
    question_first: bool = False
    has_tests: bool = False

    def fits(self, row: RowReader) -> bool:
        """Returns whether a row has the fields of this layout, none of them null."""
        return (
            row.first(self.question) is not None
            and (not self.completion or row.first(self.completion) is not None)
            and all(row.has(name) for name in self.required)
            and (not self.requires_choices or has_choices(row))
        )

    def require(self, row: RowReader) -> None:
        """Checks that a row has the fields of this layout.

        Raises:
            BadRow: One is missing or null; names it.
        """
        for fields in (self.question, self.completion):
            if fields and row.first(fields) is None:
                row.require([next((name for name in fields if name in row.row), fields[0])])
        row.require(self.required)
        if self.requires_choices:
            require_choices(row)

    def names(self, row: RowReader) -> bool:
        """Returns whether a row has the fields of this layout, some of which may be null."""
        return all(
            any(name in row.row for name in fields)
            for fields in (self.question, self.completion, *((name,) for name in self.required))
            if fields
        )


def _layout(name: str, question: str, completion: str = "", **more: bool) -> Layout:
    return Layout(name, tuple(question.split()), tuple(completion.split()), (), **more)


LAYOUTS = {
    one.name: one
    for one in (
        # Where the prompt stands in `chosen` too, that is the last field that holds the question.
        _layout(
            "preference",
            "prompt question instruction query input messages conversations chosen",
            "chosen",
        ),
        _layout("messages", "messages"),
        _layout("sharegpt", "conversations conversation"),
        _layout(
            "mmlu",
            "question question_stem",
            f"{' '.join(KEY_FIELDS)} answer target {_WORKED}",
            requires_choices=True,
        ),
        Layout("boolq", ("question",), ("answer", "label"), ("passage",)),
        _layout("gsm8k", "question", f"answer {_WORKED} target", reads_choices=False),
        _layout("squad", "question", "answers"),
        _layout("dolly", "instruction", "response", question_first=True),
        _layout("alpaca", "instruction", f"output {_WORKED} answer target", question_first=True),
        _layout("completion", "prompt", "completion"),
        _layout("humaneval", "prompt", "canonical_solution"),
        Layout("mbpp", ("text", "prompt"), ("code",), ("test_list",), has_tests=True),
        _layout("math", "problem", f"{_WORKED} answer target"),
        _layout("query", "query", f"{_WORKED} answer target"),
        _layout("prompt", "prompt", f"{_WORKED} answer target"),
        _layout("bbh", "input", f"target {_WORKED} answer"),
    )
}


def recognise(row: RowReader, answer_field: str | None = None) -> Layout:
    """Returns the first layout whose fields a row has.

    Args:
        answer_field: Field with the reference answer; the completion too, if there is no other.

    Raises:
        BadRow: There is none; says what may be meant.
    """
    for layout in LAYOUTS.values():
        if layout.fits(row):
            return layout
    # A question whose answer is all there is.
    questions = tuple(
        name for each in LAYOUTS.values() if each.completion for name in each.question
    )
    layout = Layout(
        "answer", questions, (*([answer_field] if answer_field else []), *ANSWER_FIELDS)
    )
    if layout.fits(row):
        return layout
    for layout in LAYOUTS.values():
        if layout.names(row):
            layout.require(row)
    found = f"fields {row.names()} match no known format"
    nested = next((name for name, value in row.row.items() if _holds_rows(value)), None)
    if nested:
        found += f"; if the records are in `{nested}`, extract them with `jq -c '.{nested}[]'`"
    chat = next((name for name, value in row.row.items() if _holds_messages(value)), None)
    if chat:
        found += f"; `{chat}` holds a conversation: name it `messages`"
    raise BadRow(found)


def _holds_rows(value: Any) -> bool:
    """Returns whether a value is a list of objects that are not messages."""
    return _are_objects(value) and not any("role" in one or "from" in one for one in value)


def _holds_messages(value: Any) -> bool:
    """Returns whether a value is a list of messages, with an answer among them."""
    roles = [one.get("role", one.get("from")) for one in value] if _are_objects(value) else []
    return any(role in ("assistant", "gpt", "model", "bot") for role in roles)


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)

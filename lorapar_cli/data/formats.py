"""Turns a row of any recognised layout into records."""

import hashlib
import json
from dataclasses import dataclass, field

from lorapar_cli.data.contents import Content, Rules, read_contents, read_labelled
from lorapar_cli.data.layouts import LAYOUTS, QUESTION_LIKE, Layout, recognise
from lorapar_cli.data.rows import BadRow, Row, RowReader
from lorapar_cli.data.tables import plain
from lorapar_cli.names import System
from lorapar_cli.store.records import OPTIONAL_FIELDS, RECORD_FIELDS, Message, Record

SOURCE_LABEL = "source_label"
FORMATS = list(LAYOUTS)

# Lines that `classify` wrote: whatever they hold has been read before.
_LABELLED = Layout("labelled", ("prompt",), ("completion",))
_NUMERIC_FORMAT = "gsm8k"


@dataclass(frozen=True)
class Fields:
    """How rows become records.

    Attributes:
        format: A name in `FORMATS`, or `auto` to recognise each row by its fields. `gsm8k` says
            that answers are numbers, so that the last number of an unmarked one counts.
        prompt: Field with the prompt, overriding the format; requires `completion`.
        completion: Field with the completion.
        id: Field with the record's id.
        answer: Field with the reference answer, or a list of accepted ones; None for the fields
            that are known to hold it.
        turns: Which assistant messages become completions: `last`, or `all`, each in a record of
            its own.
    """

    format: str = "auto"
    prompt: str | None = None
    completion: str | None = None
    id: str = "id"
    answer: str | None = None
    turns: str = "last"


@dataclass
class ReadRow:
    """The records of one row.

    Attributes:
        unused: Names of fields that look like part of the question and are not used.
    """

    records: list[Record]
    unused: set[str] = field(default_factory=set)


def read_row(row: Row, fields: Fields) -> ReadRow:
    """Returns the records of one row: one, or with `turns` of `all` one for each turn.

    A record's id is the row's own, with the number of the turn behind it if each turn is a record,
    or a digest of prompt and completion.

    Raises:
        BadRow: Fields are missing, or their values are not valid.
    """
    reader = RowReader(row)
    layout = _find_layout(reader, fields)
    rules = Rules(fields.answer, fields.turns, fields.format == _NUMERIC_FORMAT)
    try:
        if layout is _LABELLED:
            contents = [read_labelled(reader, rules)]
        else:
            contents = read_contents(reader, layout, rules)
        _refuse_rejected(reader)
        read = ReadRow([], _unused_fields(reader, contents))
        for number, content in enumerate(contents, 1):
            turn = number if fields.turns == "all" and not layout.completion else None
            read.records.append(_to_record(reader, content, fields.id, turn))
    except RecursionError as cause:
        raise BadRow("a field is nested too deeply") from cause
    return read


def _find_layout(row: RowReader, fields: Fields) -> Layout:
    if fields.prompt and fields.completion:
        layout = Layout("fields", (fields.prompt,), (fields.completion,), reads_parts=False)
    elif fields.format != "auto":
        layout = LAYOUTS[fields.format]
    elif set(RECORD_FIELDS) <= row.row.keys():
        layout = _LABELLED
    else:
        return recognise(row, fields.answer)
    layout.require(row)
    return layout


def _refuse_rejected(row: RowReader) -> None:
    """Refuses the answer that a person rejected: KTO's rows are right or wrong by their `label`.

    Raises:
        BadRow: It is one.
    """
    label = row.row.get("label")
    if "label" not in row.used and (label is False or str(label).strip().lower() == "false"):
        raise BadRow("`label` is false, so the completion is a rejected one")


def _unused_fields(row: RowReader, contents: list[Content]) -> set[str]:
    """Returns the fields that look like part of the question, but are not in the prompt."""
    unused = set[str]().union(*(content.unused for content in contents))
    suspects = [name for name in row.row.keys() & QUESTION_LIKE - row.used if row.row[name]]
    if not suspects:
        return unused
    said = "\n".join(text for content in contents for text in _texts(content.prompt))
    values = [row.row.get(name) for name in QUESTION_LIKE & row.used]
    asked = [value.strip() for value in values if isinstance(value, str) and value.strip()]
    for name in suspects:
        value = row.row[name]
        # It may be in the prompt by another way, or be the whole question in another form.
        is_known = isinstance(value, str) and (
            value.strip() in said or (asked != [] and all(text in value for text in asked))
        )
        unused |= set() if is_known else {name}
    return unused


def _texts(prompt: str | list[Message]) -> list[str]:
    return [prompt] if isinstance(prompt, str) else [message["content"] for message in prompt]


def _to_record(row: RowReader, content: Content, id_field: str, turn: int | None) -> Record:
    own_id = _own_id(row.row, id_field)
    used = {*row.used} if own_id is None and row.row.get(id_field) else {*row.used, id_field}
    if own_id is not None and turn is not None:
        own_id = f"{own_id}/{turn}"
    try:
        record = Record(
            id=own_id or content_digest(content.prompt, content.completion)[:16],
            prompt=content.prompt,
            completion=content.completion,
            reference_answer=next(iter(content.references), None),
            reference_answers=content.references if len(content.references) > 1 else [],
            tools=content.tools,
            extra=_extra(row.row, used),
        )
        if not _is_finite(record):
            record.extra = plain(record.extra)
            if not _is_finite(record):
                raise BadRow("a tool or the call of a tool holds NaN or infinity")
    except UnicodeEncodeError as cause:
        raise BadRow("the text is not UTF-8, or contains half a surrogate pair") from cause
    except TypeError as cause:
        raise BadRow(f"a field cannot be written as JSON: {cause}") from cause
    return record


def _is_finite(record: Record) -> bool:
    """Returns whether a record can be written as JSON, which has no NaN and no infinity.

    Raises:
        UnicodeEncodeError, TypeError, RecursionError: It cannot be written for another reason.
    """
    try:
        json.dumps(record.to_json(), ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise
    except ValueError:
        return False
    return True


def _own_id(row: Row, field: str) -> str | None:
    value = row.get(field)
    usable = isinstance(value, str | int) and not isinstance(value, bool)
    return str(value) if usable and str(value).strip() else None


def _extra(row: Row, used: set[str]) -> Row:
    """Returns the fields that the record does not use; `source_` is added to names of ours.

    And to names that are then taken, as in our own files that are read as data: no field is lost.
    """
    ours = (*RECORD_FIELDS, *OPTIONAL_FIELDS)
    rest = [key for key in row if key not in used]
    names = {key: f"source_{key}" for key in rest if key in ours}
    for key in rest:
        if key not in ours:
            name = str(key)
            while name in names.values():
                name = f"source_{name}"
            names[key] = name
    return {names[key]: row[key] for key in rest}


def empty_side(record: Record) -> str | None:
    """Returns which side of a record is empty (`empty prompt`, `empty completion`), else None."""
    if not record.completion.strip():
        return "empty completion"
    return None if any(text.strip() for text in _texts(record.prompt)) else "empty prompt"


def content_digest(prompt: str | list[Message], completion: str) -> str:
    """Returns the sha256 of a record's prompt and completion, in hex."""
    return hashlib.sha256(json.dumps([prompt, completion]).encode()).hexdigest()


def source_label(record: Record) -> System | None:
    """Returns the label in the source's own `label` field, None if that is not one of ours."""
    value = record.extra.get(SOURCE_LABEL)
    return System(value) if isinstance(value, str) and value in tuple(System) else None

"""Arrays are read as `json.loads` reads them, in pieces of any size; broken ones are refused."""

import io
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorapar_cli.data.json_stream import read_array
from lorapar_cli.data.rows import BadRow
from lorapar_cli.errors import LoraparError

NAME = "data.json"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.sampled_from(["\\", '"', "\\u", "]", "},{", "\U0001f986"]),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXT, inside, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=4)
SPACE = st.text(" \t\r\n", max_size=3)
READ_SIZES = st.sampled_from([1, 2, 3, 7, 40, 1000])


class SmallReads(io.StringIO):
    """A file that hands out at most `size` characters at a time, as a pipe may."""

    def __init__(self, text: str, size: int) -> None:
        super().__init__(text, newline="")
        self.size = size

    def read(self, size=-1):
        return super().read(self.size if size < 0 else min(size, self.size))


@st.composite
def arrays(draw, elements=OBJECTS):
    """Returns the text of an array, with any whitespace between its parts."""
    parts = [
        json.dumps(
            element,
            ensure_ascii=draw(st.booleans()),
            indent=draw(st.sampled_from([None, 1])),
        )
        for element in draw(st.lists(elements, max_size=4))
    ]
    spaced = [draw(SPACE) + part + draw(SPACE) for part in parts]
    return draw(SPACE) + "[" + (",".join(spaced) or draw(SPACE)) + "]" + draw(SPACE)


def read(text: str, size: int = 1 << 20):
    return list(read_array(SmallReads(text, size), NAME))


def plain(values):
    """Returns values in a form in which NaN equals NaN, and 1 does not equal 1.0 or True."""
    return [json.dumps(value) for value in values]


class Repeated:
    """Stands for an object with a key twice, and for whatever holds one."""


def object_of(pairs):
    values = dict(pairs)
    whole = len(values) == len(pairs) and not any(holds_repeated(each) for each in values.values())
    return values if whole else Repeated()


def holds_repeated(value) -> bool:
    if isinstance(value, list):
        return any(map(holds_repeated, value))
    return isinstance(value, Repeated)


def assert_read_like_json(text: str, size: int) -> None:
    """Checks that a text is read as `json.loads` reads it, or refused where that refuses it.

    An object with a key twice is a bad row.
    """
    try:
        expected = json.loads(text, object_pairs_hook=object_of)
    except ValueError:
        expected = None
    if not isinstance(expected, list):
        with pytest.raises(LoraparError):
            read(text, size)
        return
    found = [row for _, row in read(text, size)]
    assert [isinstance(row, BadRow) for row in found] == [
        not isinstance(value, dict) for value in expected
    ]
    objects = [value for value in expected if isinstance(value, dict)]
    assert plain(row for row in found if not isinstance(row, BadRow)) == plain(objects)


@settings(max_examples=300, deadline=None)
@given(arrays(), READ_SIZES)
def test_any_array_of_objects_is_read_as_json_reads_it(text, size):
    assert plain(row for _, row in read(text, size)) == plain(json.loads(text))


@settings(max_examples=300, deadline=None)
@given(arrays(VALUES), READ_SIZES)
def test_elements_that_are_not_objects_are_bad_rows(text, size):
    assert_read_like_json(text, size)


@settings(max_examples=200, deadline=None)
@given(arrays(), st.integers(0, 2), READ_SIZES)
def test_an_object_with_a_key_twice_is_a_bad_row_behind_which_reading_goes_on(text, before, size):
    twice = '{"b": [{"a": "}", "\\u0061": 2}]}'
    objects = text.strip()[1:-1]
    rest = f", {objects}]" if objects.strip() else "]"
    rows = read(f"[{before * '{},'}\n{twice}{rest}", size)
    place, row = rows[before]
    assert (place, str(row)) == ("data.json:2", "key `a` is there more than once in one object")
    assert plain(each for _, each in rows[before + 1 :]) == plain(json.loads(text))


@settings(max_examples=500, deadline=None)
@given(arrays(), st.data(), READ_SIZES)
def test_a_deleted_character_is_refused_where_json_refuses_it(text, data, size):
    place = data.draw(st.integers(0, len(text) - 1))
    assert_read_like_json(text[:place] + text[place + 1 :], size)


@settings(max_examples=500, deadline=None)
@given(
    arrays(),
    st.data(),
    st.sampled_from('{}[],:"\\ \n\t0123456789-+.eEtfnNI/\u00a0\ufeff') | st.characters(),
    READ_SIZES,
)
def test_an_inserted_character_is_refused_where_json_refuses_it(text, data, character, size):
    place = data.draw(st.integers(0, len(text)))
    assert_read_like_json(text[:place] + character + text[place:], size)


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        ('[\n{"a": 1}\n{"a": 2}\n]', 3, 1, "no `,` or `]` after an element"),
        ('[{"a": 1} 7]', 1, 11, "no `,` or `]` after an element"),
        ('[\n{"a": 1},\n]', 3, 1, "a `,` before the closing `]`"),
        ('[{"a": 1},,{"a": 2}]', 1, 11, "Expecting value"),
        ('[,{"a": 1}]', 1, 2, "Expecting value"),
        ('[\n{"a": 1}', 2, 9, "the file ends inside the array"),
        ('[\n{"a": 1},', 2, 10, "the file ends inside the array"),
        ("[", 1, 2, "the file ends inside the array"),
        ('[\n{"a": 1},\n{"a": \n\n', 3, 6, "Expecting value"),
        ('[\n{"a": "x', 2, 7, "Unterminated string starting at"),
        ('[{"a": 1}]\n]', 2, 1, "text after the end of the array"),
        ('[{"a": 1}]\n[{"a": 2}]', 2, 1, "text after the end of the array"),
        ("[]x", 1, 3, "text after the end of the array"),
        ('[\n{"a" 1}]', 2, 6, "Expecting ':' delimiter"),
        ('[\n{"a": 1,, "b": 2}]', 2, 9, "Expecting property name"),
        ('[\n{"a": [1}]', 2, 9, "Expecting ',' delimiter"),
        ('[\n\n{"a": "x\ny"}]', 3, 9, "Invalid control character"),
        ("[" + "[" * 100_000 + "]" * 100_001, 1, 2, "nested too deeply"),
        ('{"a": 1}', 1, 1, "no `[` at the start"),
        ("", 1, 1, "no `[` at the start"),
    ],
)
def test_a_syntax_error_is_named_with_file_line_and_column(text, line, column, reason, size):
    with pytest.raises(LoraparError) as error:
        read(text, max(size, len(text) // 100))
    assert error.value.what == f"`data.json:{line}` is not valid JSON"
    assert reason in error.value.found
    assert f", at column {column}" in error.value.found


def test_elements_before_an_error_are_handed_out_with_their_lines():
    rows = read_array(SmallReads('[\n{"a": 1},\n\n  {"a":\n2}, 7\n{"a": 3}]', 4), NAME)
    assert next(rows) == ("data.json:2", {"a": 1})
    assert next(rows) == ("data.json:4", {"a": 2})
    place, row = next(rows)
    assert place == "data.json:5"
    assert str(row) == "a number instead of an object: '7'"
    with pytest.raises(LoraparError, match=r"data\.json:6"):
        next(rows)


@pytest.mark.parametrize("number", ["1e5", "-0.25E+10", "123456789.5", "-Infinity"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_a_number_is_read_whole_wherever_a_read_ends(number, size):
    ((_, row),) = read(f"[{number}]", size)
    assert str(row) == f"a number instead of an object: '{number}'"


LONG_ELEMENTS = [json.dumps({"instruction": "q", "output": "a" * 1000})] * 20_000


def peak_of(path, read_file):
    """Returns the peak of allocated memory in bytes while a function reads the open file."""
    with open(path, encoding="utf-8", newline="") as file:
        tracemalloc.start()
        read_file(file)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def test_memory_stays_flat(tmp_path):
    path = tmp_path / "data.json"
    path.write_text("[" + ",\n".join(LONG_ELEMENTS) + "]", encoding="utf-8")

    def read_all(file):
        assert sum(1 for _ in read_array(file, str(path))) == len(LONG_ELEMENTS)

    assert peak_of(path, read_all) < 2e6


def test_a_broken_element_is_found_without_reading_the_whole_array(tmp_path):
    path = tmp_path / "data.json"
    path.write_text("[{,},\n" + ",\n".join(LONG_ELEMENTS) + "]", encoding="utf-8")

    def refuse(file):
        with pytest.raises(LoraparError, match="is not valid JSON"):
            next(read_array(file, str(path)))

    assert peak_of(path, refuse) < 2e6

"""Lines that fit a terminal."""

import pytest

from lorapar_cli.cli.display.words import cut, fit, fit_lines, width_of, wrap


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 10, "short"),
        ("one two three", 7, "one two\nthree"),
        ("note: a b", 5, "note:\na b"),
        ("  found: one two", 12, "  found: one\n  two"),
        ("error: a\n  found: b c d", 10, "error: a\n  found: b\n  c d"),
        # A path stays whole, so that it can be copied.
        ("see /a/very/long/path now", 8, "see\n/a/very/long/path\nnow"),
        ("漢字 漢字 漢字", 9, "漢字 漢字\n漢字"),
        ("", 5, ""),
        ("a  b", 10, "a  b"),
    ],
)
def test_text_breaks_between_words(text, width, expected):
    assert wrap(text, width) == expected


@pytest.mark.parametrize(
    ("parts", "width", "expected"),
    [
        (["a", "bb", "ccc"], 80, "a, bb, ccc"),
        (["a", "bb", "ccc"], 6, "a, bb"),
        (["a", "bb", "c"], 4, "a"),
        (["long"], 3, ""),
        ([], 3, ""),
    ],
)
def test_parts_that_do_not_fit_are_left_out_whole(parts, width, expected):
    assert fit(parts, width) == expected


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("abc", 3, "abc"),
        ("abcdef", 5, "ab..."),
        ("漢字漢字", 6, "漢..."),
        ("abc", 1, "."),
        ("a", 0, ""),
    ],
)
def test_a_line_that_is_redrawn_is_cut(text, width, expected):
    assert cut(text, width) == expected
    assert width_of(cut(text, width)) <= width


@pytest.mark.parametrize(
    ("width", "most", "expected"),
    [
        (80, 2, ["a | bb | ccc | dddd"]),
        (9, 2, ["a | bb", " ccc"]),
        (9, 3, ["a | bb", " ccc", " dddd"]),
        (12, 2, ["a | bb | ccc", " dddd"]),
        (3, 3, ["a", " bb"]),
        (0, 3, []),
    ],
)
def test_parts_go_on_in_further_lines_in_their_order(width, most, expected):
    assert fit_lines(["a", "bb", "ccc", "dddd"], width, " | ", " ", most) == expected

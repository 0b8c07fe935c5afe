"""What an expected error looks like when it is printed."""

from lorapar_cli.errors import LoraparError


def test_a_name_in_an_error_cannot_start_a_line_of_its_own():
    error = LoraparError(
        "no such file: `a\nerror: b`", "first line\nhint: second", "give `c\nhint: d` another name"
    )
    assert str(error).splitlines() == [
        "error: no such file: `a\\nerror: b`",
        "  found: first line",
        "         hint: second",
        "",
        "hint: give `c\\nhint: d` another name",
    ]

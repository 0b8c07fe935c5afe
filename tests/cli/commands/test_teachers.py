"""The command `teachers` as it is typed."""

import json

from tests.cli.command_line import lorapar


def test_teachers_are_listed_with_what_is_missing(tmp_path):
    done = lorapar(tmp_path, "teachers", OPENAI_API_KEY="sk-hidden")
    assert done.returncode == 0
    assert "rules-cues" in done.stdout
    assert "sk-hidden" not in done.stdout + done.stderr
    listed = json.loads(lorapar(tmp_path, "teachers", "--json", OPENAI_API_KEY="sk-hidden").stdout)
    missing = {row["name"]: row["missing"] for row in listed}
    assert missing["gpt4o"] is None
    assert missing["claude"] == "no key in `ANTHROPIC_API_KEY`"
    assert missing["rules-shape"] is None


def test_how_to_state_an_unknown_price_is_said(tmp_path):
    done = lorapar(tmp_path, "teachers")
    assert "unknown" in done.stdout
    assert "for an unknown price, state the price in US dollars per million tokens" in done.stderr

"""The dry run."""

from lorapar_cli.data.readers import open_source
from tests.labelling.classify_parts import (
    ask,
    estimate_cost,
    requests_to,
    running_server,
    write_questions,
)


def test_a_dry_run_of_economy_leaves_out_what_is_decided(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 60)
    with running_server() as server:
        ask(tmp_path / "run", data, server, "ab")
        teachers = [server.teacher(name) for name in "abc"]
        plan = estimate_cost(tmp_path / "run", data, teachers, economy=True)
        before = requests_to(server)
        ask(tmp_path / "run", data, server, "abc", economy=True)
        assert plan.rows["c"]["questions"] == requests_to(server) - before > 0
        plan = estimate_cost(tmp_path / "new", data, teachers, economy=True)
    assert plan.rows["c"]["questions"] == 60
    assert any("economy" in note for note in plan.notes)


def test_a_dry_run_asks_and_writes_nothing_and_shows_the_prompt(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 50)
    with running_server() as server:
        options = {"student": "Tiny 1B", "student_description": "It was never trained on code."}
        plan = estimate_cost(tmp_path / "run", data, [server.teacher("a")], **options)
        assert requests_to(server) == 0
    assert not (tmp_path / "run").exists()
    system, user = plan.messages
    assert "You are Tiny 1B. It was never trained on code." in system["content"]
    first = next(open_source(str(data)).records())
    assert first.prompt in user["content"]
    assert first.completion in user["content"]

"""What is asked again and what is not."""

import pytest

from lorapar_cli.labelling.scratch_database import scratch_database
from lorapar_cli.labelling.votes.journal_index import ASKED_ONCE
from lorapar_cli.labelling.votes.voting import NO_VOTE, SYSTEM1, SYSTEM2, UNASKED
from tests.labelling.classify_parts import (
    FAST,
    RULES,
    ask,
    expected_labels,
    labels_of,
    open_vote_table,
    read_lines,
    requests_to,
    run_classify,
    running_server,
    write_questions,
    write_rows,
)


def test_a_teacher_keeps_its_answers_when_another_of_its_model_joins(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 20)
    with running_server() as first, running_server() as second:
        teachers = [f"one=shared@{first.url}", f"two=shared@{second.url}"]
        for chosen in (teachers[:1], teachers, teachers[::-1], teachers[:1]):
            run_classify(tmp_path / "run", data, chosen, clock=FAST)
        assert (requests_to(first), requests_to(second)) == (20, 20)
        # Two that never stood alone are distinguished by their names, each asked once.
        for chosen in (teachers, teachers[::-1]):
            run_classify(tmp_path / "again", data, chosen, clock=FAST)
        assert (requests_to(first), requests_to(second)) == (40, 40)


def limited(path, server, tokens):
    fields = f"base_url: '{server.url}', model: model-a, max_tokens: {tokens}"
    path.write_text(f"teachers:\n  a: {{{fields}}}\n")
    return path


def test_a_truncated_answer_is_no_vote_and_is_had_with_more_tokens(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 20)
    with running_server(tokens_needed={"model-a": 500}) as server:

        def run(tokens):
            mine = limited(tmp_path / "t.yaml", server, tokens)
            return run_classify(tmp_path / "run", data, ["a"], teachers_file=mine, clock=FAST)

        outcome = run(100)
        counts = outcome.manifest.counts["teachers"]["a"]
        assert (counts["no_vote"], counts["cut"], counts["system2"]) == (20, 20, 0)
        assert requests_to(server) == 40
        (note,) = [note for note in outcome.manifest.notes if "truncated" in note]
        assert "20 answers were truncated at 100 tokens" in note
        assert "`max_tokens`" in note
        assert not run(100).fresh
        assert not run(50).fresh
        more = run(500)
        assert requests_to(server) == 60
        assert more.manifest.counts["teachers"]["a"]["cut"] == 0
        assert more.manifest.counts["teachers"]["a"]["prompt_tokens"] == 60 * 100
        assert not run(900).fresh
    assert labels_of(more.folder) == expected_labels(more.folder, "a")


def test_questions_that_an_endpoint_rejects_are_no_votes_and_asked_again_later(tmp_path):
    rows = [{"question": f"{word}?", "answer": "#### 1"} for word in ("a", "bad", "c")]
    data = write_rows(tmp_path / "data.jsonl", rows)
    with running_server(refuse=["bad?"]) as server:
        outcome = ask(tmp_path / "run", data, server, "a", holdout=0.0)
    counts = outcome.manifest.counts["teachers"]["a"]
    assert (counts["refused"], counts["no_vote"], counts["asked"]) == (1, 1, 2)
    assert any("rejected 1 question: rejected (400): too long" in n for n in outcome.manifest.notes)
    lines = {line["prompt"]: line for line in read_lines(outcome.folder / "labels.jsonl")}
    assert lines["bad?"]["votes"] == {"a": None}
    with running_server() as server:
        ask(tmp_path / "run", data, server, "a", holdout=0.0, seed=1)
        assert requests_to(server) == 1


@pytest.fixture
def table(tmp_path):
    """Three rules and five different records, the fourth of them empty, the sixth a copy."""
    rows = [{"question": f"{i}?", "answer": "" if i == 3 else "1"} for i in range(5)]
    data = write_rows(tmp_path / "data.jsonl", [*rows, rows[0]])
    with scratch_database(tmp_path / "classify") as database:
        yield open_vote_table(database, data, RULES, tmp_path / "votes.jsonl")


def test_records_come_with_the_teachers_that_have_yet_to_answer_them(table):
    table.fill_in(0, [(SYSTEM1, 0, 0), (ASKED_ONCE, 1, 1)])
    table.fill_in(1, [(NO_VOTE, n, n) for n in range(5)])
    found = list(table.waiting_records([0, 1]))
    assert [(number, record.prompt, wanted) for number, record, wanted in found] == [
        (0, "0?", {}),
        (1, "1?", {0: True}),
        (2, "2?", {0: False}),
        (3, "3?", {}),
        (4, "4?", {0: False}),
    ]
    assert [table.count_waiting(column) for column in range(3)] == [3, 0, 4]


def test_rows_close_where_no_remaining_teacher_can_change_the_label(table):
    table.fill_in(0, [(SYSTEM1, 0, 0), (SYSTEM1, 1, 1), (NO_VOTE, 2, 2)])
    table.fill_in(1, [(SYSTEM1, 0, 0), (SYSTEM2, 1, 1), (SYSTEM2, 2, 2)])
    table.close_decided(SYSTEM2)
    assert [number for number, _ in table.waiting(2)] == [1, 4]
    votes, counts = table.open_votes()
    assert dict(zip(map(tuple, votes.tolist()), counts.tolist(), strict=True)) == {
        (SYSTEM1, SYSTEM2, UNASKED): 1,
        (UNASKED, UNASKED, UNASKED): 1,
    }

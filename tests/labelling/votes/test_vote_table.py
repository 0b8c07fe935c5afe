"""What is asked again and what is not."""

from tests.labelling.classify_parts import (
    FAST,
    ask,
    expected_labels,
    labels_of,
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
    assert any(
        "rejected 1 questions: rejected (400): too long" in n for n in outcome.manifest.notes
    )
    lines = {line["prompt"]: line for line in read_lines(outcome.folder / "labels.jsonl")}
    assert lines["bad?"]["votes"] == {"a": None}
    with running_server() as server:
        ask(tmp_path / "run", data, server, "a", holdout=0.0, seed=1)
        assert requests_to(server) == 1

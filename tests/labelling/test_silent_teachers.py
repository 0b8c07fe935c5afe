"""A teacher that answered nothing at all ends the run as an error, however small the run."""

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.plurals import counted
from tests.labelling.classify_parts import FAST, read_lines, run_classify, write_questions
from tests.labelling.scripted_server import completion, scripted_server


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ((400, {"error": {"message": "content policy"}}), "rejected (400): content policy"),
        ((413, "too large"), "rejected (413): too large"),
        ((422, {"detail": [{"loc": ["body"], "msg": "no thanks"}]}), "no thanks"),
        ({"error": {"code": 400, "message": "bad prompt"}}, "rejected (400 in a 200): bad prompt"),
    ],
)
def test_a_teacher_that_refuses_every_question(tmp_path, count, said, shown):
    data = write_questions(tmp_path / "data.jsonl", count)
    with scripted_server(lambda _: said) as server, pytest.raises(LoraparError) as error:
        run_classify(tmp_path / "run", data, ["rules-cues", server.teacher()], clock=FAST)
    assert error.value.what == "not every teacher answered every question"
    assert f"`a`: 0 of {counted(count, 'question')} answered, {count} refused" in error.value.found
    assert shown in error.value.found
    assert not (tmp_path / "run" / "classify" / "labels.jsonl").exists()


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("message", [{}, {"content": " \n"}, {"tool_calls": []}])
def test_a_teacher_whose_answers_are_all_empty(tmp_path, count, message):
    data = write_questions(tmp_path / "data.jsonl", count)
    reply = completion(None, **message)
    with scripted_server(lambda _: reply) as server:
        for _ in range(2):
            with pytest.raises(LoraparError) as error:
                run_classify(tmp_path / "run", data, [server.teacher()], clock=FAST)
            assert error.value.what == "a teacher answered nothing at all"
            assert error.value.found == f"`a`: {counted(count, 'answer')}, all empty"
        # Each was paid for twice, is in the journal, and is not paid for again.
        assert len(server.requests) == 2 * count
        journal = tmp_path / "run" / "classify" / "votes.jsonl"
        assert sum(line["prompt_tokens"] for line in read_lines(journal)) == 40 * count
        others = ["rules-cues", "rules-shape", server.teacher()]
        run_classify(tmp_path / "run", data, others, clock=FAST, min_votes=1)


def test_one_word_is_an_answer_and_a_missing_label_is_noted(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 2)
    with scripted_server(lambda _: completion("Hm.")) as server:
        outcome = run_classify(tmp_path / "run", data, [server.teacher()], clock=FAST)
    assert "teacher a named no label in any of its answers" in outcome.manifest.notes

"""Structured output: a schema, then JSON mode, then plain words, found out once per endpoint."""

import pytest

from lorapar_cli.errors import LoraparError
from tests.labelling.classify_parts import FAST, run_classify, write_questions
from tests.labelling.scripted_server import completion, scripted_server

SCHEMA, JSON_MODE, NONE = "json_schema", "json_object", None

# Status and body with which servers refuse a format, as they word it.
REFUSALS = {
    "422, pydantic's list": (
        422,
        {
            "detail": [
                {
                    "type": "literal_error",
                    "loc": ["body", "response_format", "type"],
                    "msg": "Input should be 'text'",
                    "input": "json_schema",
                }
            ]
        },
    ),
    "422, detail as text": (422, {"detail": "response_format is not available for this model"}),
    "422, plain text": (
        422,
        "Failed to deserialize the JSON body: response_format.type: unknown variant",
    ),
    "400, nested": (
        400,
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {
                    "raw": '{"error": {"message": "this model does not support structured outputs"}}'
                },
            }
        },
    ),
    "400, in a list": (
        400,
        [{"error": {"code": 400, "message": "JSON mode is not enabled", "status": "INVALID"}}],
    ),
    "400, grammar": (
        400,
        {"code": 400, "message": "Failed to initialize samplers: failed to parse grammar"},
    ),
    "400, HTML": (400, "<html><body><h1>json_schema unsupported</h1></body></html>"),
    "404, no provider": (
        404,
        {"error": {"message": "No endpoints found that can handle the requested parameters."}},
    ),
    "404, format": (404, {"error": {"message": "structured outputs: no such feature"}}),
    "500, told": (500, {"error": {"message": "guided decoding backend crashed"}}),
    "500, untold": (500, "Internal Server Error"),
    "501, untold": (501, {"error": "not implemented"}),
    "422, untold": (422, {"detail": "Unprocessable"}),
    "400, untold": (400, "Bad Request"),
    "200, error": (200, {"error": "`response_format` is not supported by this engine"}),
}


def refuses(kinds, refusal):
    """An endpoint that answers all but these kinds of structured output."""

    def answer(body):
        kind = body.get("response_format", {}).get("type")
        return refusal if kind in kinds else completion()

    return answer


@pytest.mark.parametrize("kinds", [(SCHEMA,), (SCHEMA, JSON_MODE)], ids=["schema", "both"])
@pytest.mark.parametrize("how", REFUSALS)
def test_a_refused_format_gives_way_to_the_next_and_is_not_asked_for_again(tmp_path, how, kinds):
    data = write_questions(tmp_path / "data.jsonl", 5)
    with scripted_server(refuses(kinds, REFUSALS[how])) as server:
        outcome = run_classify(
            tmp_path / "run", data, [server.teacher()], concurrency=4, retries=0, clock=FAST
        )
    counts = outcome.manifest.counts["teachers"]["a"]
    assert (counts["system2"] + outcome.manifest.counts["heldout"], counts["refused"]) >= (5, 0)
    ladder = [SCHEMA, JSON_MODE, NONE][: len(kinds) + 1]
    assert server.formats() == ladder + ladder[-1:] * 4


def test_what_one_teacher_found_out_all_teachers_of_the_endpoint_know(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 3)
    refusal = 400, {"error": "no json_schema here"}

    def answer(body):
        # They disagree, so that the third one is asked too, after the others.
        label = "System 1" if body["model"] == "other" else "System 2"
        return refusal if SCHEMA in str(body.get("response_format")) else completion(label)

    with scripted_server(answer) as server:
        teachers = [server.teacher(name, model="shared") for name in ("a", "c")]
        teachers.insert(1, server.teacher("b", model="other"))
        run_classify(tmp_path / "run", data, teachers, clock=FAST, economy=True)
    asked = {}
    for (_, _, body), kind in zip(server.requests, server.formats(), strict=True):
        asked.setdefault(body["model"], []).append(kind)
    assert asked["shared"].count(SCHEMA) == 1
    assert asked["other"].count(SCHEMA) == 1
    assert (len(asked["shared"]), len(asked["other"])) == (3 + 3 + 1, 3 + 1)


def test_a_server_that_fails_now_and_then_keeps_its_schema(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 6)
    seen = []

    def answer(body):
        seen.append(body)
        return (500, "Internal Server Error") if len(seen) == 3 else completion()

    with scripted_server(answer) as server:
        run_classify(tmp_path / "run", data, [server.teacher()], concurrency=1, clock=FAST)
    assert server.formats() == [SCHEMA] * 7


def test_an_answer_that_did_not_become_json_is_had_in_plain_words_this_once(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 3)
    failed = {
        "error": {
            "message": "Failed to generate JSON. Please adjust your prompt.",
            "code": "json_validate_failed",
            "failed_generation": "System 2",
        }
    }

    def answer(body):
        hard = "Ann has 1 " in body["messages"][-1]["content"]
        return (400, failed) if hard and "response_format" in body else completion()

    with scripted_server(answer) as server:
        run_classify(tmp_path / "run", data, [server.teacher()], concurrency=1, clock=FAST)
    assert sorted(map(str, server.formats())) == ["None", *[SCHEMA] * 3]


def test_a_refusal_for_another_reason_keeps_its_own_words(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 1)
    refusal = 400, {"error": {"message": "prompt too long"}}
    with scripted_server(lambda _: refusal) as server, pytest.raises(LoraparError) as error:
        run_classify(tmp_path / "run", data, [server.teacher()], clock=FAST)
    assert "rejected (400): prompt too long" in error.value.found
    # The schema might have been the reason, so it was left out before giving up; once.
    assert server.formats() == [SCHEMA, JSON_MODE, NONE]


def test_what_a_refusal_repeats_of_the_request_is_not_its_reason(tmp_path):
    data = write_questions(tmp_path / "data.jsonl", 2)

    def answer(body):
        if "temperature" not in body:
            return completion()
        loc = ["body", "temperature"]
        return 422, {
            "detail": [{"loc": loc, "msg": "Extra inputs are not permitted", "input": body}]
        }

    with scripted_server(answer) as server:
        run_classify(tmp_path / "run", data, [server.teacher()], clock=FAST)
    assert server.formats() == [SCHEMA] * 3

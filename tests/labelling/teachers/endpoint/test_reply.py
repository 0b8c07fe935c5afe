"""What stands in a response with status 200: answers in odd places, and errors."""

import json
import time
from contextlib import suppress

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.labelling.teachers.endpoint.refusals import Refusal, TransientError
from lorapar_cli.labelling.teachers.endpoint.reply import Reply, read_reply
from lorapar_cli.names import System
from tests.labelling.classify_parts import FAST, read_lines, run_classify, write_questions
from tests.labelling.scripted_server import completion, scripted_server

LABEL = '{"reason": "several steps", "label": "System2"}'


def call(arguments, **more):
    return {"tool_calls": [{"type": "function", "function": {"name": "f", "arguments": arguments}}]}


def stream(*pieces, end="[DONE]"):
    events = [*(json.dumps(each) if not isinstance(each, str) else each for each in pieces), end]
    return ": keep waiting\n\n" + "".join(f"data: {each}\n\n" for each in events if each)


def delta(finish=None, **part):
    return {"choices": [{"index": 0, "delta": part, "finish_reason": finish}]}


@pytest.mark.parametrize(
    "message",
    [
        {"reasoning_content": f"Let me see. {LABEL}"},
        {"reasoning": "It takes two additions.\nSystem 2"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "so: System 2"}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "System 2"}]}]},
        {"content": " \n", "reasoning_content": LABEL},
        call(LABEL),
        call({"label": "System2"}),
        {"function_call": {"name": "f", "arguments": LABEL}},
        call(LABEL) | {"reasoning": "System 1? Or System 1?"},
        call("{}") | {"reasoning_content": "System 2"},
        {"content": LABEL, "reasoning_content": "System 1 it seems, System 1"},
    ],
)
def test_an_answer_is_read_wherever_it_stands_and_journaled(tmp_path, message):
    data = write_questions(tmp_path / "data.jsonl", 1)
    with scripted_server(
        lambda _: (
            completion(None)
            | {"choices": [{"message": {"content": None} | message, "finish_reason": "stop"}]}
        )
    ) as server:
        outcome = run_classify(tmp_path / "run", data, [server.teacher()], holdout=0.0, clock=FAST)
    (line,) = read_lines(outcome.folder / "votes.jsonl")
    assert line["vote"] == "system2"
    assert "System" in line["text"]


@pytest.mark.parametrize(
    "body",
    [
        stream(delta(role="assistant", content="Sys"), delta(content="tem 2"), delta("stop")),
        stream(delta(reasoning_content="Hm. "), delta(reasoning_content="System 2"), delta("stop")),
        stream(
            delta(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": '{"label": '}}]),
            delta("tool_calls", tool_calls=[{"index": 0, "function": {"arguments": '"System2"}'}}]),
            end="",
        ),
        "event: message\n" + stream(completion("System 2")),
        "\n\n   " + json.dumps(completion("System 2")),
        "\ufeff" + json.dumps(completion("System 2")),
    ],
)
def test_a_complete_answer_is_read_in_any_wrapping(body):
    reply = read_reply(body.encode(), {})
    assert isinstance(reply, Reply)
    assert (reply.label(), reply.cut) == (System.SYSTEM2, False)


def test_a_stream_tells_of_tokens_and_of_truncation():
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    reply = read_reply(stream(delta("length", content="System 2 que"), usage).encode(), {})
    assert (reply.cut, reply.prompt_tokens, reply.completion_tokens) == (True, 7, 3)
    assert reply.label() is None


# Body with status 200, and what the error says of it.
NO_ANSWERS = {
    "error object": ({"error": {"message": "upstream crashed", "code": 502}}, "server error 502"),
    "error text": ({"error": "model is still loading"}, "model is still loading"),
    "error in the choice": (
        {
            "choices": [
                {
                    "error": {"code": 502, "message": "provider hung up"},
                    "message": {"content": ""},
                    "finish_reason": "error",
                }
            ]
        },
        "provider hung up",
    ),
    "in a list": ([{"error": {"code": 503, "message": "try later"}}], "try later"),
    "nested": (
        {
            "error": {
                "message": "Provider returned error",
                "code": 502,
                "metadata": {"raw": '{"error": {"message": "the engine core died"}}'},
            }
        },
        "the engine core died",
    ),
    "stream": (stream({"error": {"message": "stream broke", "code": 500}}), "stream broke"),
    "stream of text": ("data: engine overloaded\n\n", "engine overloaded"),
    "half a stream": (stream(delta(content="System 2"), end=""), "an event stream that ends"),
    "web page": (
        "<!DOCTYPE html><html><head><title>Sign in</title><style>b{}</style></head>"
        "<script>var a = 1;</script><body>Log in &amp; go on</body></html>",
        "Sign in Log in & go on",
    ),
    "plain text": ("Ollama is running", "Ollama is running"),
    "detail": ({"detail": "engine paused"}, "engine paused"),
    "another API": ({"response": "System 2", "done": True}, "no answer in a 200"),
    "choices null": ({"object": "chat.completion", "choices": None}, "unreadable answer"),
}


@pytest.mark.parametrize("kind", NO_ANSWERS)
def test_an_error_in_a_200_is_shown_in_the_providers_words(tmp_path, kind):
    body, said = NO_ANSWERS[kind]
    data = write_questions(tmp_path / "data.jsonl", 1)
    with scripted_server(lambda _: body) as server, pytest.raises(LoraparError) as error:
        run_classify(tmp_path / "run", data, [server.teacher()], retries=1, clock=FAST)
    assert said in error.value.found
    assert len(server.requests) >= 2


@pytest.mark.parametrize(
    "error",
    [
        {"code": 429, "message": "Provider returned error"},
        {"code": "429", "message": "slow down"},
        {"code": "rate_limit_exceeded", "type": "requests", "message": "slow"},
        {"status": "RESOURCE_EXHAUSTED", "message": "quota of this minute"},
        "Rate limit reached for this model",
        {"message": "Too many requests"},
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_429_in_a_200_is_a_rate_limit(tmp_path, error, streamed):
    data = write_questions(tmp_path / "data.jsonl", 4)
    seen = []

    def answer(body):
        seen.append(body)
        if len(seen) > 2:
            return completion()
        return stream({"error": error}) if streamed else {"error": error}

    with scripted_server(answer) as server:
        outcome = run_classify(
            tmp_path / "run", data, [server.teacher()], concurrency=1, retries=3, clock=FAST
        )
    counts = outcome.manifest.counts["teachers"]["a"]
    assert (counts["too_many_requests"], counts["asked"]) == (2, 4)


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"retry-after": "150"}, {"code": 429, "message": "later"}),
        ({}, {"code": 429, "message": "later", "retry_after": 150}),
        ({}, {"code": 429, "metadata": {"headers": {"Retry-After": "150"}}, "message": "later"}),
        ({}, {"code": 429, "details": [{"retryDelay": "150s"}], "message": "later"}),
        ({}, {"code": 429, "message": "Rate limit reached. Please try again in 2m30s."}),
    ],
)
def test_a_rate_limit_in_a_200_says_how_long_to_wait(tmp_path, headers, error):
    data = write_questions(tmp_path / "data.jsonl", 1)
    seen = []

    def answer(_):
        seen.append(time.monotonic() * FAST.speed)
        return (200, {"error": error}, headers) if len(seen) == 1 else completion()

    with scripted_server(answer) as server:
        run_classify(tmp_path / "run", data, [server.teacher()], clock=FAST)
    assert seen[1] - seen[0] >= 150


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"code": 401, "message": "No auth credentials found"}, "the key was not accepted (401"),
        ({"code": 403, "message": "region not supported"}, "the key was not accepted (403"),
        ({"code": 402, "message": "Insufficient credits"}, "out of credit (402"),
        ({"code": "insufficient_quota", "message": "pay first"}, "out of credit (402"),
        ({"type": "authentication_error", "message": "who are you"}, "not accepted (401"),
        ("Unexpected endpoint or method. (POST /v1/chat/completions)", "no such address (404"),
    ],
)
def test_a_lasting_error_in_a_200_makes_the_teacher_unavailable_at_once(tmp_path, error, said):
    data = write_questions(tmp_path / "data.jsonl", 9)
    with scripted_server(lambda _: {"error": error}) as server, pytest.raises(LoraparError) as got:
        run_classify(tmp_path / "run", data, [server.teacher()], concurrency=1, clock=FAST)
    assert said in got.value.found
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "token", ["<", "<script", "<a ", "data: ", "data: {\n", "[", '{"a":', "{", "-"]
)
def test_a_megabyte_of_one_token_is_read_at_once(token):
    started = time.process_time()
    with suppress(TransientError):
        found = read_reply((token * (1_000_000 // len(token))).encode(), {})
        assert isinstance(found, Refusal)
        assert found.words()
        found.everything(), found.codes(), found.retry_after()
    assert time.process_time() - started < 20

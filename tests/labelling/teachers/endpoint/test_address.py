"""Addresses: which are refused at once, and what is said of those where nothing is found."""

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.labelling.teachers.catalog import find_teachers
from lorapar_cli.labelling.teachers.endpoint.address import check_address
from tests.labelling.classify_parts import FAST, run_classify, write_questions
from tests.labelling.scripted_server import completion, scripted_server

AZURE = "https://acme.openai.azure.com"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://h:8000/v1/chat/completions", "write `http://h:8000/v1`"),
        ("http://h:8000/chat/completions/", "write `http://h:8000/v1`"),
        ("https://h/api/v1/completions", "write `https://h/api/v1`"),
        ("https://h/v1beta/openai/chat/completions", "write `https://h/v1beta/openai`"),
        (AZURE, f"write `{AZURE}/openai/v1`"),
        (f"{AZURE}/openai/deployments/mini/chat/completions?api-version=2024-10-21", "`mini`"),
        (f"{AZURE}/openai/deployments/mini", f"write `{AZURE}/openai/v1`"),
        ("http://gateway/azure/openai/deployments/m?api-version=x", "/azure/openai/v1`"),
        ("http://user:geheim@h/v1", "plain address"),
        ("http://h/v1?token=geheim", "plain address"),
        ("http://h/v1#part", "plain address"),
        ("http://h:port/v1", "write `http://host:port/v1`"),
        ("http://[::1/v1", "write `http://host:port/v1`"),
        ("ftp://h/v1", "write `http://host:port/v1`"),
        ("http:///v1", "write `http://host:port/v1`"),
    ],
)
def test_an_address_that_cannot_work_is_refused_with_the_right_one(url, said):
    with pytest.raises(UsageError) as error:
        check_address(url, "a")
    assert said in error.value.hint
    assert "geheim" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "http://127.0.0.1:8000/v1/",
        "http://127.0.0.1:11434",
        "http://[::1]:8000/v1",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "https://openrouter.ai/api/v1",
        f"{AZURE}/openai/v1",
        "https://h/compatible-mode/v1",
    ],
)
def test_addresses_of_providers_are_taken(url):
    check_address(url, "a")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("a=m@localhost:8000/v1", "with `http://` or `https://`"),
        ("http://localhost:8000/v1", "write `name=model@http://host:port/v1`"),
        ("a=m", "write `name=model@http://host:port/v1`"),
    ],
)
def test_half_an_address_is_completed(typed, said):
    with pytest.raises(UsageError) as error:
        find_teachers([typed])
    assert said in error.value.hint


NOT_FOUND = {
    "vllm": (404, {"detail": "Not Found"}),
    "ollama": (404, "404 page not found"),
    "nginx": (404, "<html><head><title>404 Not Found</title></head></html>"),
    "static": (405, "<html><title>405 Not Allowed</title></html>"),
    "python": (501, "<html><title>Error response</title>Unsupported method ('POST')</html>"),
    "lm studio": (200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}),
    "a web page": (200, "<!doctype html><title>Welcome to nginx!</title>"),
    "openai": (404, {"error": {"message": "Invalid URL (POST /chat/completions)"}}),
}


@pytest.mark.parametrize("server_kind", NOT_FOUND)
def test_a_missing_v1_is_named_after_one_question(tmp_path, server_kind):
    data = write_questions(tmp_path / "data.jsonl", 3)

    def answer(_, path, __):
        return completion() if path.startswith("/v1/") else NOT_FOUND[server_kind]

    with scripted_server(answer) as server:
        with pytest.raises(LoraparError) as error:
            teacher = server.teacher(url=server.root)
            run_classify(tmp_path / "run", data, [teacher], concurrency=1, clock=FAST)
        assert f"`{server.root}` has no `/v1`: write `{server.url}`" in error.value.found
        run_classify(tmp_path / "run", data, [server.teacher()], clock=FAST)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, {"error": {"code": "404", "message": "Resource not found"}}, "/openai/v1`"),
        (400, {"error": "missing required query parameter: api-version"}, "/openai/v1`"),
    ],
)
def test_what_azure_says_of_its_old_addresses_is_understood(tmp_path, status, body, said):
    data = write_questions(tmp_path / "data.jsonl", 1)
    with scripted_server(lambda _: (status, body)) as server:
        teacher = server.teacher(url=f"{server.root}/openai/deployments/mini")
        with pytest.raises(LoraparError) as error:
            run_classify(tmp_path / "run", data, [teacher], clock=FAST)
    assert f"write `{server.root}{said}" in error.value.found
    assert "`mini`, as the model" in error.value.found


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "The model `model-a` does not exist.", "code": "model_not_found"}},
        {"error": {"message": 'model "model-a" not found, try pulling it first'}},
        {"object": "error", "message": "The model `model-a` does not exist", "code": 404},
    ],
)
def test_a_model_that_is_not_there_is_no_wrong_address(tmp_path, body):
    data = write_questions(tmp_path / "data.jsonl", 1)
    with scripted_server(lambda _: (404, body)) as server, pytest.raises(LoraparError) as error:
        run_classify(tmp_path / "run", data, [server.teacher()], clock=FAST)
    assert "no such model, `model-a` (404)" in error.value.found
    assert "/v1`" not in error.value.found

"""Keys: refused where they do not belong, and gone from whatever a provider makes of them."""

import base64
import logging
from urllib.parse import quote

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.labelling.teachers.catalog import find_teachers, known_teachers
from tests.labelling.classify_parts import FAST, run_classify, write_questions
from tests.labelling.scripted_server import completion, scripted_server

KEYS = [
    "sk-or-v1-5b2c9e71d04f4a6893ce",
    "Zx81QmPl07VdKw3TgYb5Hs9R",
    "gsk_T4bL7mQ2xW9zR6nK1vC8pD",
    "6f1d8c2b-9a47-4e03-b5d8-71c0aa93e2f4",
]

# What people type where a key does not belong.
TYPED = [
    "{key}",
    "{key}={key}",
    "gpt4o:{key}",
    "gpt4o={key}",
    "a=m:{key}",
    "http://user:{key}@h/v1",
    "a=m@http://user:{key}@h/v1",
    "a=m@http://{key}@h:1/v1",
    "a=m@http://h/v1?key={key}",
    "a=m@http://h/{key}/v1",
    "a=m@http://h/v1#{key}",
    "a=m@user:{key}@h/v1",
    "{key}=m@http://h/v1",
    "a={key}@http://h/v1",
    "hf:{key}",
    "a=hf:{key}",
]
FILES = [
    "teachers: {{a: {{base_url: 'http://h/v1', model: m, key_env: '{key}'}}}}",
    "teachers: {{a: {{base_url: 'http://h/v1', model: m, '{key}': x}}}}",
    "teachers: {{a: {{base_url: 'http://h/v1', model: '{key}'}}}}",
    "teachers: {{a: {{base_url: 'http://u:{key}@h/v1', model: m}}}}",
    "teachers: {{a: {{base_url: 'http://h/v1', model: m, structured: '{key}'}}}}",
    "teachers: {{a: {{base_url: 'http://h/v1', model: m, price: '{key}'}}}}",
    "teachers: {{a: {{base_url: 'http://h/v1', model: m, max_tokens: '{key}'}}}}",
    "teachers: {{'{key}': {{base_url: 'http://h/v1', model: m}}}}",
    "teachers:\n  a:\n\tkey_env: {key}",
    "teachers: {{a: {{key_env: '{key}",
    "teachers: {{a: 1, '{key}': 1, '{key}': 2}}",
    "{key}",
]


def parts_of(key):
    return {key[begin : begin + 6].lower() for begin in range(len(key) - 5)}


def shows(text, key):
    return [part for part in parts_of(key) if part in text.lower()]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("typed", TYPED)
def test_a_key_typed_for_a_teacher_is_refused_and_not_repeated(typed, key):
    with pytest.raises(UsageError) as error:
        find_teachers([typed.format(key=key)])
    assert not shows(str(error.value), key)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("content", FILES)
def test_a_key_in_a_teachers_file_is_refused_and_not_repeated(tmp_path, content, key):
    path = tmp_path / "t.yaml"
    path.write_text(content.format(key=key))
    with pytest.raises(LoraparError) as error:
        known_teachers(path)
    assert not shows(str(error.value), key)


@pytest.mark.parametrize(
    "name", ["MY_KEY", "OPENAI_API_KEY", "AZUREOPENAIKEY4O", "key", "HUGGINGFACEHUB_API_TOKEN_2"]
)
def test_names_of_variables_are_taken(tmp_path, name):
    path = tmp_path / "t.yaml"
    path.write_text(f"teachers: {{a: {{base_url: 'http://h/v1', model: m, key_env: {name}}}}}")
    assert known_teachers(path)["a"].key_env == name


@pytest.mark.parametrize(
    "model",
    [
        "Qwen2VL7BInstructAWQ",
        "meta-llama/Llama-3.1-8B-Instruct",
        "DeepSeekCoderInstruct",
        "/models/snapshots/7ae557604adf67be50417f59c2c2f167def9a775",
        "accounts/fireworks/models/qwen2p5-72b-instruct",
    ],
)
def test_names_of_models_are_taken(model):
    assert find_teachers([f"-a={model}@http://h/v1"])[0].model == model


KEY = "Zx81QmPl07VdKw3TgYb5Hs9R"
FORMS = {
    "whole": KEY,
    "header": f"Bearer {KEY}",
    "dots": f"{KEY[:5]}...{KEY[-2:]}",
    "stars": f"{KEY[:2]}**{KEY[-2:]}",
    "crosses": f"{KEY[:4]}XXXXXXXX{KEY[-4:]}",
    "end alone": f"the key that ends in {KEY[-4:]}",
    "middle alone": f"***{KEY[8:13]}***",
    "halves": f"{KEY[:12]} and {KEY[12:]}",
    "pieces": "-".join(KEY[place : place + 4] for place in range(0, len(KEY), 4)),
    "percent": quote(f"Bearer {KEY}", safe=""),
    "basic": base64.b64encode(f":{KEY}".encode()).decode(),
    "basic, user": base64.b64encode(f"me:{KEY}".encode()).decode(),
    "capitals": KEY.upper(),
    "small": KEY.lower(),
}
PLACES = {
    "answer": lambda said: completion(f"System 2, {said}"),
    "reasoning": lambda said: completion(None, reasoning_content=f"{said}: System 2"),
    "tool": lambda said: completion(
        None, tool_calls=[{"function": {"arguments": f'{{"label": "System2", "x": "{said}"}}'}}]
    ),
    "no label": completion,
    "401": lambda said: (401, {"error": {"message": f"Incorrect key {said}."}}),
    "400 in words": lambda said: (400, f"refused for {said}"),
    "422": lambda said: (422, {"detail": [{"msg": said, "loc": [said]}]}),
    "500": lambda said: (500, {"error": {"code": said, "message": said}}),
    "429": lambda said: (429, {"error": {"message": said}}),
    "404 page": lambda said: (404, f"<h1>{said}</h1>"),
    "error in a 200": lambda said: {"error": {"message": said}},
    "stream": lambda said: f'data: {{"error": "{said}"}}\n\n',
}


def always(said):
    return lambda _: said


@pytest.mark.parametrize("form", FORMS)
def test_no_form_of_a_key_that_a_provider_repeats_is_shown_or_written(
    tmp_path, monkeypatch, caplog, form
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    data = write_questions(tmp_path / "data.jsonl", 1)
    gone = {FORMS[form], KEY[:5], f"*{KEY[-2:]}", f".{KEY[-2:]}", KEY[8:13], KEY[-4:], KEY[:4]}
    gone |= {FORMS["basic"][4:-4], FORMS["basic, user"][6:-4]}
    told = []
    places = PLACES if form in ("whole", "dots") else ("answer", "401", "error in a 200")
    for place in places:
        answer, folder = PLACES[place], tmp_path / place
        with scripted_server(always(answer(FORMS[form]))) as server:
            try:
                outcome = run_classify(
                    folder, data, [server.teacher()], retries=0, clock=FAST, progress=told.append
                )
                told.append(outcome)
            except LoraparError as error:
                told.append(str(error))
            assert server.requests[0][1]["authorization"] == f"Bearer {KEY}"
        for file in filter(lambda path: path.is_file(), folder.rglob("*")):
            told.append(file.read_text(errors="replace"))
    text = repr(told) + caplog.text
    assert "[removed]" in text
    assert not [part for part in gone if part.lower() in text.lower()]
    assert not shows(text, KEY)


@pytest.mark.parametrize("key", ["x", "none", "EMPTY", "ollama", "lm-studio", "token-abc123"])
def test_a_stand_in_for_a_key_changes_no_label(tmp_path, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    data = write_questions(tmp_path / "data.jsonl", 1)
    with scripted_server(lambda _: completion(f"Next: none is EMPTY; {key}: System 2")) as server:
        outcome = run_classify(tmp_path / "run", data, [server.teacher()], holdout=0.0, clock=FAST)
    assert outcome.manifest.counts["system2"] == 1


@pytest.mark.parametrize(
    "proxy", ["nonsense://user:{key}@h:1", "http://[{key}", "socks5://{key}@h"]
)
def test_a_proxy_that_cannot_be_used_is_an_error_without_its_address(tmp_path, monkeypatch, proxy):
    monkeypatch.setenv("ALL_PROXY", proxy.format(key=KEY))
    data = write_questions(tmp_path / "data.jsonl", 1)
    with pytest.raises(LoraparError) as error:
        run_classify(tmp_path / "run", data, ["a=m@http://h.invalid/v1"], retries=0, clock=FAST)
    assert not shows(str(error.value), KEY)

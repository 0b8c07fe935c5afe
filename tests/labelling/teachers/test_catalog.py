"""Teachers by name, address and path, and what a teachers file may hold."""

import shutil
from dataclasses import replace

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.labelling.teachers.catalog import find_teachers, known_teachers
from lorapar_cli.labelling.teachers.teacher import STRUCTURED, Price, identities


def test_presets_are_whole():
    presets = {name: t for name, t in known_teachers().items() if t.kind == "api"}
    assert {"gpt4o", "claude", "qwen", "deepseek", "gemini", "qwq", "r1"} <= set(presets)
    for teacher in presets.values():
        assert teacher.base_url.startswith("https://")
        assert teacher.key_env.endswith("_API_KEY")
        assert teacher.structured in STRUCTURED
        # A price without the date on which it held is worth nothing.
        assert teacher.price is None or teacher.price.date


def test_teachers_are_found_by_name_address_and_path():
    found = find_teachers(
        ["rules-cues", "q=org/model:7b@http://127.0.0.1:8000/v1", "hf:/models/x", "own=hf:y", "r1"]
    )
    assert [t.kind for t in found] == ["rule", "api", "hf", "hf", "api"]
    assert [t.name for t in found] == ["rules-cues", "q", "hf:/models/x", "own", "r1"]
    assert (found[1].model, found[1].base_url) == ("org/model:7b", "http://127.0.0.1:8000/v1")
    assert (found[1].key_env, found[1].key_required) == ("OPENAI_API_KEY", False)
    assert found[2].model == "/models/x"


def test_an_unknown_teacher_is_an_error_with_the_nearest_name():
    with pytest.raises(UsageError) as error:
        find_teachers(["rules-cues", "gpt40"])
    assert "`gpt40`, did you mean `gpt4o`" in str(error.value)
    assert "rules-shape" in error.value.hint
    with pytest.raises(UsageError, match="same name"):
        find_teachers(["a=m@http://h/v1", "a=n@http://h/v1"])


@pytest.mark.parametrize(
    "url", ["http://user:secret@h/v1", "https://h/v1?key=secret", "http://secret@h:1/v1"]
)
def test_an_address_that_carries_a_secret_is_refused_without_repeating_it(url):
    with pytest.raises(UsageError) as error:
        find_teachers([f"a=m@{url}"])
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("teachers:\n  a: {modle: x}", "`modle`, did you mean `model`"),
        ("teachers:\n  a: {model: x}", "lacks `base_url`"),
        ("teachers:\n  a: {model: x, base_url: http://h/v1, structured: maybe}", "structured"),
        ("teachers:\n  a: {model: x, base_url: http://h/v1, price: 3}", "has no valid price"),
        ("teachers:\n  a: 3", "is not a mapping"),
        ("teachers:\n  a: {model: x, base_url: http://h/v1, key_env: 5}", "`key_env: 5`"),
        ("teachers:\n  a: {model: x, base_url: http://h/v1, temperature: hot}", "temperature"),
        ("teachers:\n  a: {model: x, base_url: http://h/v1, max_tokens: many}", "max_tokens"),
        ("teachers:\n  a: {model: x, base_url: http://h/v1, max_tokens: 0}", "max_tokens"),
        ("teachers:\n  a: {model: 4, base_url: http://h/v1}", "`model: 4`"),
        (
            "teachers:\n  a: {model: x, base_url: http://h/v1, price: {input: -1, output: 1}}",
            "has no valid price",
        ),
        (
            "teachers:\n  a: {model: x, base_url: http://h/v1, price: {input: 1, output: .nan}}",
            "has no valid price",
        ),
        ("teachers:\n  a: {model: 'hf:x', price: {input: 1, output: 1}}", "is a local model"),
        ("teachers: [a]", "no mapping `teachers:`"),
        ("- a", "no mapping `teachers:`"),
    ],
)
def test_a_wrong_teachers_file_is_explained(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(UsageError) as error:
        known_teachers(path)
    assert message in str(error.value)


def test_a_file_adds_and_replaces_teachers(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "run_dir: x\nteachers:\n  gpt4o: {base_url: http://h/v1, model: other, key_env: K}\n"
        "  mine: {base_url: http://h/v1, model: m, price: {input: 1, output: 2}}\n"
    )
    known = known_teachers(path)
    assert (known["gpt4o"].model, known["gpt4o"].key_required) == ("other", True)
    assert (known["mine"].key_required, known["mine"].price.output) == (False, 2)
    assert known["mine"].missing() is None


def test_a_file_changes_fields_of_a_preset_and_sets_up_local_models(tmp_path, tiny_model_dir):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "teachers:\n  qwen: {price: {input: 1, output: 2}}\n  gpt4o: {max_tokens: 9000}\n"
        f"  mine: {{model: 'hf:{tiny_model_dir}', max_tokens: 7}}\n"
    )
    before, known = known_teachers(), known_teachers(path)
    assert known["qwen"] == replace(before["qwen"], price=Price(1, 2))
    assert known["gpt4o"] == replace(before["gpt4o"], max_tokens=9000)
    (given,) = find_teachers([f"mine=hf:{tiny_model_dir}"])
    # Listing teachers reads no weights; asking them does.
    assert known["mine"] == replace(given, max_tokens=7, revision=None)
    (asked,) = find_teachers(["mine"], path)
    assert asked == replace(given, max_tokens=7)
    assert given.max_tokens > 256


def test_a_local_model_that_was_trained_on_is_another_teacher(
    tiny_model_dir, tmp_path, monkeypatch
):
    copy = tmp_path / "model"
    shutil.copytree(tiny_model_dir, copy)
    monkeypatch.chdir(tmp_path)
    before = identities(find_teachers(["hf:model"]))
    assert identities(find_teachers([f"a=hf:{copy}"])) == before
    template = copy / "chat_template.jinja"
    template.write_text("{# other #}" + template.read_text())
    changed = identities(find_teachers(["hf:model"]))
    assert changed != before
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    assert identities(find_teachers(["hf:model"])) not in (before, changed)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no mapping `teachers:`"),
        ("teachers: null", "no mapping `teachers:`"),
        ("teachers: {a: 1, a: 2}", "the key `a` occurs twice"),
        ("teachers:\n  ~: {model: x, base_url: http://h/v1}", "whose name is not text"),
        ("teachers:\n  yes: {model: x, base_url: http://h/v1}", "whose name is not text"),
        ("teachers:\n  '': {model: x, base_url: http://h/v1}", "whose name is not text"),
        ('teachers:\n  "\\ud800": {model: x, base_url: http://h/v1}', "cannot be a teacher's name"),
        ('teachers:\n  "a\\e[2J": {model: x, base_url: http://h/v1}', "cannot be a teacher's name"),
        ("teachers:\n  a,b: {model: x, base_url: http://h/v1}", "cannot be a teacher's name"),
        ('teachers:\n  a: {model: "x\\ny", base_url: http://h/v1}', "cannot be shown"),
        ("teachers:\n  a: {model: '', base_url: http://h/v1}", "model of teacher `a`"),
        ("teachers:\n  a: {model: x, base_url: http://h/v1, temperature: .nan}", "temperature"),
        ("teachers:\n  a: {model: x, base_url: http://h/v1, temperature: .inf}", "temperature"),
        ("teachers:\n  a: {model: x, base_url: http://h/v1, temperature: -1}", "temperature"),
        (
            f"teachers:\n  a: {{model: x, base_url: http://h/v1, max_tokens: {10**30}}}",
            "max_tokens",
        ),
        ("teachers:\n  a: {model: x, base_url: http://h/v1, structured: [none]}", "structured"),
        ("teachers:\n  a: {model: x, base_url: http://h/v1, key_env: ''}", "key_env"),
        ("teachers:\n  a: {model: x, base_url: http://h/v1, key_env: MY KEY}", "key_env"),
        (
            f"teachers:\n  a: {{model: x, base_url: http://h/v1, price: {{input: {10**400}, output: 1}}}}",
            "mine.yaml:2` is not valid YAML\n  found: a whole number of more than 1000 bits",
        ),
        ("teachers:\n  a: {model: x, base_url: http://h/v1, price: [1, 2]}", "price"),
        ("teachers:\n  a: {model: x, base_url: localhost:8000/v1}", "is not a URL"),
    ],
)
def test_odd_values_in_a_teachers_file_are_explained(tmp_path, content, said):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(LoraparError) as error:
        known_teachers(path)
    assert said in str(error.value)
    assert len(str(error.value)) < 1000


def test_a_name_that_begins_with_a_dash_is_a_name_like_any_other(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("teachers: {-b: {model: m, base_url: http://h/v1}}")
    assert [t.name for t in find_teachers(["-a=m@http://h/v1", "-b"], path)] == ["-a", "-b"]

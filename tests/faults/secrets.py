"""Keys: neither whole nor in part do they reach the screen or the run directory."""

import base64
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.faults.echo_server import FORMS, PLACES, echo_server
from tests.faults.harness import Case, Lost, Result, make_logs, run
from tests.faults.pipeline import pipeline

KIND = "secrets"
PART = 6
# As providers make them; none of their parts occurs in what a command says by itself.
KEYS = {
    "of OpenAI": "sk-proj-Qw8zX2vT7nB4mK9pL3rJ6hF1dS5gA0cYuE",
    "without a prefix": "9f2Kq7Wd4Zt8Rb1Vn6Xc3Jm5Hg0Lp",
    "of a hub": "hf_zWqYxKvJpRtBnMcLsDfGhTyUeQaXoVi",
}
KEY = KEYS["of OpenAI"]
VARIABLES = (
    *("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "DASHSCOPE_API_KEY", "DEEPSEEK_API_KEY"),
    *("GEMINI_API_KEY", "OPENROUTER_API_KEY"),
)
# What people type where a key does not belong; `{port}` is a provider's on loopback.
TYPED = {
    "the key alone": "{key}",
    "address alone, with a user": "http://user:{key}@127.0.0.1:{port}/v1",
    "name and key": "gpt4o:{key}",
    "name equals key": "gpt4o={key}",
    "model and key": "a=m:{key}",
    "address with user and key": "a=m@http://user:{key}@127.0.0.1:{port}/v1",
    "address with key alone": "a=m@http://{key}@127.0.0.1:{port}/v1",
    "address with a query": "a=m@http://127.0.0.1:{port}/v1?api_key={key}",
    "address with a fragment": "a=m@http://127.0.0.1:{port}/v1#{key}",
    "address with a path": "a=m@http://127.0.0.1:{port}/{key}/v1",
    "without a scheme": "a=m@user:{key}@127.0.0.1:{port}/v1",
    "another scheme": "a=m@ftp://user:{key}@127.0.0.1/v1",
    "broken port": "a=m@http://user:{key}@127.0.0.1:x{port}/v1",
    "broken brackets": "a=m@http://[{key}/v1",
    "key before the model": "{key}=m@http://127.0.0.1:{port}/v1",
    "local model": "hf:{key}",
    "key first, twice": "{key},{key}",
}
TEACHERS_FILES = {
    "key_env": "teachers: {{a: {{base_url: 'http://127.0.0.1:{port}/v1', model: m, key_env: '{key}'}}}}",
    "unknown field": "teachers: {{a: {{base_url: 'http://127.0.0.1:{port}/v1', model: m, key: '{key}'}}}}",
    "key as a field": "teachers: {{a: {{base_url: 'http://127.0.0.1:{port}/v1', '{key}': m}}}}",
    "user in the address": "teachers: {{a: {{base_url: 'http://u:{key}@127.0.0.1:{port}/v1', model: m}}}}",
    "query in the address": "teachers: {{a: {{base_url: 'http://127.0.0.1:{port}/v1?k={key}', model: m}}}}",
    "fragment of the address": "teachers: {{a: {{base_url: 'http://127.0.0.1:{port}/v1#{key}', model: m}}}}",
    "as temperature": "teachers: {{a: {{base_url: 'http://127.0.0.1:{port}/v1', model: m, temperature: '{key}'}}}}",
    "as structured": "teachers: {{a: {{base_url: 'http://127.0.0.1:{port}/v1', model: m, structured: '{key}'}}}}",
    "as price": "teachers: {{a: {{base_url: 'http://127.0.0.1:{port}/v1', model: m, price: '{key}'}}}}",
    "broken YAML": "teachers: {{a: {{key_env: '{key}\n",
    "tab in YAML": "teachers:\n  a:\n\tkey_env: {key}\n",
    "a teacher that is a key": "teachers: {{a: '{key}'}}",
    "a list of keys": "teachers: ['{key}']",
    "a file that is a key": "{key}",
}


def cases(_: int) -> Iterator[Case]:
    for which, place, form in _echoes():
        name = f"key {which} comes back {form}, in {place}"
        yield Case(KIND, name, partial(_echoed, which, place, form))
    for typed in TYPED:
        yield Case(KIND, f"--teachers: {typed}", partial(_typed, typed))
        yield Case(KIND, f"teachers of a YAML run: {typed}", partial(_in_run_file, typed))
    for name in TEACHERS_FILES:
        for command in ("classify", "teachers", "run"):
            check = partial(_in_teachers_file, name, command)
            yield Case(KIND, f"teachers file: {name}, {command}", check)
    for variable in (*VARIABLES, "HF_TOKEN"):
        yield Case(KIND, f"environment: {variable}", partial(_in_environment, variable))
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        yield Case(KIND, f"environment: {variable}", partial(_proxy, variable))
    for broken in ("key\nKEY", "KEY\u00e9", "KEY\x7f", " KEY "):
        yield Case(KIND, f"a key that no header can hold: {broken!r}", partial(_broken_key, broken))


def _echoes() -> Iterator[tuple[str, str, str]]:
    """Yields key, place and form; every place and form with the key that is hardest to know."""
    for place in PLACES:
        for form in FORMS if place in ("answer", "401", "400") else ("whole", "first half"):
            yield "without a prefix", place, form
    for form in FORMS:
        yield "of OpenAI", "401", form
    for form in ("whole", "masked by dots", "masked by stars"):
        yield "of OpenAI", "answer", form
        yield "of a hub", "400", form


def require_secret(key: str, results: list[Result], run_dir: Path) -> None:
    """Raises Lost where a part of the key stands in what was printed or written."""
    parts = {key[begin : begin + PART] for begin in range(len(key) - PART + 1)}
    encoded = base64.b64encode(f"user:{key}".encode()).decode().rstrip("=")
    parts |= {encoded[begin : begin + 8] for begin in range(8, len(encoded) - 7)}
    parts |= {f"{key[:5]}...", f"{key[:4]}**", f"*{key[-4:]}", f"...{key[-2:]}", key.upper()}
    for result in results:
        for part in parts:
            if part in result.said:
                place = result.said.index(part)
                shown = result.said[max(0, place - 80) : place + 60]
                raise Lost(f"`lorapar {result.arguments[0]}` prints a part: {shown!r}")
    for path in (path for path in run_dir.rglob("*") if path.is_file() or path.is_symlink()):
        content = path.read_bytes() if path.is_file() else b""
        for part in parts:
            if part.encode() in content or part in str(path.relative_to(run_dir)):
                raise Lost(f"`{path.relative_to(run_dir)}` holds a part of the key: {part}")


def _classify(teachers: str, *more: str) -> list[str]:
    quick = ("--limit", "4", "--retries", "0", "--timeout", "5", "--holdout", "0")
    data = str(pipeline().data)
    return ["classify", data, "--teachers", teachers, *quick, *more, "--run-dir", "run"]


def _looks(logs: Path, cwd: Path, environment: dict[str, str]) -> list[Result]:
    """Returns what the commands say that look at a run directory afterwards."""
    (cwd / "run").mkdir(exist_ok=True)
    commands = (["status", "--run-dir", "run"], ["report", "--markdown", "--run-dir", "run"])
    return [run(each, logs, cwd=cwd, environment=environment).require_sane() for each in commands]


def _echoed(which: str, place: str, form: str, folder: Path) -> None:
    logs, environment = make_logs(folder), {"OPENAI_API_KEY": KEYS[which]}
    with echo_server(place, form) as (port, seen):
        command = _classify(f"a=m@http://127.0.0.1:{port}/v1")
        first = run(command, logs, cwd=folder, environment=environment).require_sane()
        again = run([*command, "--json"], logs, cwd=folder, environment=environment).require_sane()
    if KEYS[which] not in seen:
        raise AssertionError(f"the provider was not asked with the key: {first.err[-500:]}")
    results = [first, again, *_looks(logs, folder, environment)]
    require_secret(KEYS[which], results, folder / "run")


def _typed(typed: str, folder: Path) -> None:
    logs = make_logs(folder)
    with echo_server("401", "whole") as (port, _):
        command = _classify(TYPED[typed].format(key=KEY, port=port))
        results = [run(command, logs, cwd=folder).require_sane()]
        results.append(run([*command, "--dry-run"], logs, cwd=folder).require_sane())
    require_secret(KEY, [*results, *_looks(logs, folder, {})], folder / "run")


def _in_run_file(typed: str, folder: Path) -> None:
    logs = make_logs(folder)
    with echo_server("401", "whole") as (port, _):
        teachers = TYPED[typed].format(key=KEY, port=port)
        text = (
            f"model: {pipeline().model}\nrun_dir: run\n"
            f"classify: {{data: {pipeline().data}, teachers: '{teachers}', retries: 0, limit: 4}}\n"
        )
        (folder / "run.yaml").write_text(text, encoding="utf-8")
        done = run(["run", "run.yaml"], logs, cwd=folder).require_sane()
    require_secret(KEY, [done, *_looks(logs, folder, {})], folder / "run")


def _in_teachers_file(name: str, command: str, folder: Path) -> None:
    logs = make_logs(folder)
    with echo_server("401", "whole") as (port, _):
        file = folder / "teachers.yaml"
        file.write_text(TEACHERS_FILES[name].format(key=KEY, port=port), encoding="utf-8")
        given = {
            "classify": _classify("a", "--teachers-file", "teachers.yaml"),
            "teachers": ["teachers", "--teachers-file", "teachers.yaml"],
            "run": ["run", "teachers.yaml", "--run-dir", "run"],
        }[command]
        results = [run(given, logs, cwd=folder).require_sane()]
        if command == "teachers":
            results.append(run([*given, "--json"], logs, cwd=folder).require_sane())
    require_secret(KEY, [*results, *_looks(logs, folder, {})], folder / "run")


def _in_environment(variable: str, folder: Path) -> None:
    """A key from the environment goes to the provider and nowhere else."""
    logs, environment = make_logs(folder), {variable: KEY}
    (folder / "run").mkdir()
    commands = [["teachers"], ["teachers", "--json"], ["doctor", "--run-dir", "run"]]
    commands += [["doctor", "--json"], ["score", "--model", "org/none", "--run-dir", "run"]]
    results = [run(each, logs, cwd=folder, environment=environment) for each in commands]
    for result in results:
        result.require_sane()
    with echo_server("401", "masked by stars") as (port, seen):
        entry = f"{{base_url: 'http://127.0.0.1:{port}/v1', model: m, key_env: {variable}}}"
        (folder / "own.yaml").write_text(f"teachers: {{mine: {entry}}}\n", encoding="utf-8")
        command = _classify("mine", "--teachers-file", "own.yaml")
        results.append(run(command, logs, cwd=folder, environment=environment).require_sane())
    if KEY not in seen:
        raise AssertionError(f"the provider was not asked with the key: {results[-1].err[-500:]}")
    require_secret(KEY, [*results, *_looks(logs, folder, environment)], folder / "run")


def _proxy(variable: str, folder: Path) -> None:
    logs = make_logs(folder)
    environment = {variable: f"http://user:{KEY}@127.0.0.1:9", "OPENAI_API_KEY": "other"}
    command = _classify("a=m@http://provider.invalid/v1,gpt4o")
    results = [run(command, logs, cwd=folder, environment=environment).require_sane()]
    results.append(run(["doctor"], logs, cwd=folder, environment=environment).require_sane())
    require_secret(KEY, [*results, *_looks(logs, folder, environment)], folder / "run")


def _broken_key(shape: str, folder: Path) -> None:
    logs = make_logs(folder)
    environment = {"OPENAI_API_KEY": shape.replace("KEY", KEY)}
    with echo_server("401", "whole") as (port, _):
        command = _classify(f"a=m@http://127.0.0.1:{port}/v1")
        done = run(command, logs, cwd=folder, environment=environment).require_sane()
    require_secret(KEY, [done, *_looks(logs, folder, environment)], folder / "run")

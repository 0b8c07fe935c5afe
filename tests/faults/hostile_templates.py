"""Chat templates that fail, never end, grow without bounds or reach for what is not theirs."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.faults.harness import Case, Lost, make_logs, run
from tests.faults.pipeline import pipeline

KIND = "hostile chat templates"
CANARY = "canary.txt"
_ASK = "{% for m in messages %}{{ m.content }}{% endfor %}"

ERRORS = {
    "division by zero": "{{ 1 / 0 }}",
    "an undefined name": "{{ nothing.more }}",
    "an undefined call": "{{ nothing() }}",
    "a wrong index": "{{ messages[500].content }}",
    "a wrong type": "{{ 'a' + 1 }}",
    "a sum of None": "{{ none + 1 }}",
    "its own error": "{{ raise_exception('roles must alternate') }}",
    "its own error, empty": "{{ raise_exception('') }}",
    "its own error, not text": "{{ raise_exception(5) }}",
    "a wrong format": "{{ '%d' % 'a' }}",
    "a wrong key": "{{ {}['a']['b'] }}",
    "an unhashable key": "{{ {[]: 1} }}",
    "a wrong date": "{{ strftime_now('%') }}{{ strftime_now(5) }}",
    "JSON of an undefined": "{{ nothing | tojson }}",
    "a missing role": "{{ messages[0].role.x.y }}",
    "an unknown filter": "{{ 'a' | nothing }}",
    "an unknown test": "{{ 'a' is nothing }}",
    "an unknown tag": "{% nothing %}",
    "a loop without an end": "{% for a in messages %}",
    "an include": "{% include '/etc/passwd' %}",
    "an import": "{% import '/etc/passwd' as p %}",
    "an inheritance": "{% extends '/etc/passwd' %}",
    "a macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "blocks in blocks": "{% if true %}" * 3000 + "x" + "{% endif %}" * 3000,
    "parentheses in parentheses": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "a list in a list": "{{ " + "[" * 3000 + "]" * 3000 + " }}",
    "a long sum": "{{ 1" + " + 1" * 20_000 + " }}",
    "nothing at all": "",
    "blanks": "  \n ",
    "a null": "a\0b",
    "half a character": "{{ '\\ud800' }}",
}
ENDLESS = {
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "empty loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a long range": "{% for i in range(10**10) %}x{% endfor %}",
    "a product of text": "{{ 'a' * 10**10 }}",
    "a product of a list": "{{ [1] * 10**10 }}",
    "a power": "{{ 9 ** (9 ** 9) }}",
    "a wide format": "{{ '%10000000000d' % 1 }}",
    "a wide method": "{{ 'a'.ljust(10**10) }}",
    "a wide filter": "{{ 'a' | center(10**10) }}",
    "text that doubles": "{% set n = namespace(s='a') %}{% for i in range(60) %}"
    "{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "a list that doubles": "{% set n = namespace(s=[1]) %}{% for i in range(60) %}"
    "{% set n.s = n.s + n.s %}{% endfor %}",
    "a join": "{{ (['a' * 100000] * 100000) | join }}",
    "a replacement": "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
    "a slow word count": "{{ ('a ' * 10**9) | wordcount }}",
}
REACHING = {
    "the class": "{{ ''.__class__ }}",
    "the class, by filter": "{{ '' | attr('__class__') }}",
    "the class, by index": "{{ ''['__class__']['__mro__'] }}",
    "subclasses": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ lipsum.__globals__ }}",
    "a shell": "{{ cycler.__init__.__globals__.os.popen('touch CANARY').read() }}",
    "a shell of joiner": "{{ joiner.__init__.__globals__['os'].system('touch CANARY') }}",
    "a shell of namespace": "{{ namespace.__init__.__globals__.os.system('touch CANARY') }}",
    "a format string": "{{ '{0.__class__}'.format(messages) }}",
    "a format map": "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "a change of the messages": "{{ messages.append(1) }}",
    "a change of one message": "{{ messages[0].update({'content': 'x'}) }}",
    "frames": "{{ raise_exception.__closure__ }}",
    "self": "{{ self.__init__.__globals__ }}",
}
PLACES = ("--template", "chat_template.jinja", "tokenizer_config.json")


def cases(_: int) -> Iterator[Case]:
    every = ERRORS | ENDLESS | REACHING
    for number, name in enumerate(every):
        yield Case(
            KIND, f"score --template, {name}", partial(_hostile, name, "--template", "score")
        )
        place = PLACES[1 + number % 2]
        yield Case(KIND, f"score, {place}, {name}", partial(_hostile, name, place, "score"))
    for name in (*list(every)[::5], "loops in loops", "a product of text", "a power"):
        check = partial(_hostile, name, "--template", "train-sft")
        yield Case(KIND, f"train-sft --template, {name}", check)
        yield Case(KIND, f"eval, in the model, {name}", partial(_hostile, name, PLACES[1], "eval"))
        check = partial(_hostile, name, PLACES[1], "teacher")
        yield Case(KIND, f"teacher hf:, in the model, {name}", check)
    for what in ("fifo", "folder", "device", "gone", "binary", "10 MB"):
        yield Case(KIND, f"--template, a {what}", partial(_no_file, what))


def _hostile(name: str, place: str, stage: str, folder: Path) -> None:
    text = (ERRORS | ENDLESS | REACHING)[name].replace("CANARY", str(folder / CANARY))
    logs = make_logs(folder)
    pipeline().copy(folder, "train-rl")
    shutil.copytree(pipeline().model, folder / "model")
    command = {
        "score": [*pipeline().command("score"), "--seed", "1", "--model", "model"],
        "train-sft": [*pipeline().command("train-sft"), "--overwrite"],
        "eval": [*pipeline().command("eval"), "--adapter", "base", "--model", "model"],
        "teacher": [
            *("classify", str(pipeline().data), "--teachers", "hf:model", "--limit", "4"),
            *("--run-dir", "run"),
        ],
    }[stage]
    named = "template"
    if place == "--template":
        (folder / "chat.jinja").write_text(text, encoding="utf-8")
        command = [*command, "--template", "chat.jinja"]
    elif place == "chat_template.jinja":
        (folder / "model" / place).write_text(text, encoding="utf-8")
    else:
        _put_into_config(folder / "model", text)
    done = run(command, logs, cwd=folder).require_sane()
    if (folder / CANARY).exists():
        raise Lost("the template ran a command")
    if name in ENDLESS or name in REACHING:
        # What is harmless in itself may well be rendered, such as an undefined name.
        if done.code == 0 and name in ENDLESS:
            raise Lost("a template without bounds was rendered")
        if done.code == 0 and any(part in done.said for part in ("<class", "__globals__")):
            raise Lost("the template reaches what is not its own")
    if done.code != 0:
        done.require_refused(named)


def _put_into_config(model: Path, text: str) -> None:
    import json

    (model / "chat_template.jinja").unlink()
    path = model / "tokenizer_config.json"
    value = json.loads(path.read_text(encoding="utf-8")) | {"chat_template": text}
    path.write_text(json.dumps(value), encoding="utf-8")


def _no_file(what: str, folder: Path) -> None:
    logs = make_logs(folder)
    pipeline().before(folder, "score")
    path = folder / "chat.jinja"
    if what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "binary":
        path.write_bytes(b"\xff\xfe\x00" * 100)
    elif what == "10 MB":
        path.write_text(_ASK + "{# long #}" * 10**6, encoding="utf-8")
    command = [*pipeline().command("score"), "--template", "chat.jinja"]
    done = run(command, logs, cwd=folder).require_sane()
    if what != "10 MB":
        done.require_refused("chat.jinja")

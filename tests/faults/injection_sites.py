"""Where a name, a datum or somebody else's error reaches the screen, and commands that show it."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import yaml

from lorapar_cli.store.tensor_files import layout_fingerprint, write_tensors
from tests.faults.echo_server import completion, provider
from tests.faults.pipeline import pipeline

Commands = Iterator[list[str]]
QUICK = ("--limit", "4", "--retries", "0", "--timeout", "5", "--holdout", "0", "--run-dir", "run")
RULES = ("--teachers", "rules-shape", "--holdout", "0", "--run-dir", "run")


def _teachers_file(folder: Path, name: str, **fields: object) -> str:
    entry = {"base_url": "http://127.0.0.1:9/v1", "model": "m"} | fields
    (folder / "own.yaml").write_text(yaml.safe_dump({"teachers": {name: entry}}), encoding="utf-8")
    return "own.yaml"


def teacher_name(folder: Path, datum: str) -> Commands:
    file = _teachers_file(folder, datum)
    yield ["teachers", "--teachers-file", file, "--json"]
    yield ["teachers", "--teachers-file", file]


def teacher_model(folder: Path, datum: str) -> Commands:
    file = _teachers_file(folder, "a", model=datum)
    yield ["teachers", "--teachers-file", file]


def teacher_key_variable(folder: Path, datum: str) -> Commands:
    file = _teachers_file(folder, "a", key_env=datum)
    yield ["teachers", "--teachers-file", file]
    yield ["classify", str(pipeline().data), "--teachers", "a", "--teachers-file", file, *QUICK]


def teacher_field(folder: Path, datum: str) -> Commands:
    yield ["teachers", "--teachers-file", _teachers_file(folder, "a", **{datum: 1})]


def teacher_that_votes(folder: Path, datum: str) -> Commands:
    with provider(lambda _: (200, completion("System 1"), "")) as port:
        file = _teachers_file(folder, datum, base_url=f"http://127.0.0.1:{port}/v1")
        command = ["classify", str(pipeline().data), "--teachers", datum, "--teachers-file", file]
        yield [*command, *QUICK]
        yield [*command, *QUICK, "--json"]
    yield ["report", "--markdown", "--run-dir", "run"]


def teacher_unknown(folder: Path, datum: str) -> Commands:
    yield ["classify", str(pipeline().data), "--teachers", datum, *QUICK]


def teacher_inline_model(folder: Path, datum: str) -> Commands:
    with provider(lambda _: (404, {"error": {"message": "no such model"}}, "")) as port:
        given = f"a={datum}@http://127.0.0.1:{port}/v1"
        yield ["classify", str(pipeline().data), "--teachers", given, *QUICK]


def teacher_answer(folder: Path, datum: str) -> Commands:
    with provider(lambda _: (200, completion(f"{datum} System 2"), datum)) as port:
        given = f"a=m@http://127.0.0.1:{port}/v1"
        yield ["classify", str(pipeline().data), "--teachers", given, *QUICK]
        yield ["classify", str(pipeline().data), "--teachers", given, *QUICK, "--json"]


def provider_error(folder: Path, datum: str) -> Commands:
    for status in (401, 400):
        with provider(lambda _, status=status: (status, {"error": {"message": datum}}, "")) as port:
            given = f"a=m@http://127.0.0.1:{port}/v1"
            yield ["classify", str(pipeline().data), "--teachers", given, *QUICK]


def data_name(folder: Path, datum: str) -> Commands:
    path = folder / f"{datum}.jsonl"
    yield ["classify", path.name if "/" not in datum else f"{datum}.jsonl", *RULES]
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"question": 1}\n', encoding="utf-8")
    yield ["classify", f"{datum}.jsonl", *RULES]
    shutil.copy(pipeline().data, path)
    yield ["classify", f"{datum}.jsonl", *RULES]
    yield ["report", "--markdown", "--run-dir", "run"]


def data_line(folder: Path, datum: str) -> Commands:
    (folder / "data.jsonl").write_text(f"{datum.replace(chr(10), '')}\n", encoding="utf-8")
    yield ["classify", "data.jsonl", *RULES]


def data_field(folder: Path, datum: str) -> Commands:
    (folder / "data.jsonl").write_text(json.dumps({datum: datum}), encoding="utf-8")
    yield ["classify", "data.jsonl", *RULES]


def data_text(folder: Path, datum: str) -> Commands:
    line = {"id": datum, "question": f"What is {datum}?", "answer": f"{datum} #### 1"}
    (folder / "data.jsonl").write_text(f"{json.dumps(line)}\n" * 3, encoding="utf-8")
    _teachers_file(folder, "a")
    options = ["--teachers", "a", "--teachers-file", "own.yaml", *QUICK]
    yield ["classify", "data.jsonl", "--dry-run", *options]
    yield ["classify", "data.jsonl", *RULES, "--json"]


def option_values(folder: Path, datum: str) -> Commands:
    data = str(pipeline().data)
    yield ["classify", data, "--format", datum, *RULES]
    yield ["classify", data, "--prompt-field", datum, "--completion-field", "answer", *RULES]
    yield ["classify", data, f"--on-tie={datum}", *RULES]
    yield ["partition", f"--theta={datum}"]
    yield ["partition", f"--sweep={datum}"]
    if "=" not in datum:  # Else the option would be what stands before it.
        yield ["partition", f"--{datum}"]
    yield [datum]
    pipeline().copy(folder, "partition")
    for option in ("--scheduler", "--optimizer", "--report-to", "--dtype", "--training"):
        if option != "--training" or "=" not in datum:  # What stands behind it would be a value.
            yield ["train-sft", "--run-dir", "run", f"{option}={datum}"]
    if "=" not in datum:  # What stands behind it would be a weight.
        yield ["train-rl", "--run-dir", "run", f"--rewards={datum}"]
    yield ["score", "--run-dir", "run", f"--target-modules={datum}"]
    yield ["score", "--run-dir", "run", f"--init={datum}"]


def record_id(folder: Path, datum: str) -> Commands:
    run_dir = pipeline().copy(folder, "partition")
    path = run_dir / "classify" / "system1.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines[0] |= {"id": datum, "prompt": "long " * 50}
    (folder / "splits").mkdir()
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder / "splits" / "system1.jsonl").write_text(text, encoding="utf-8")
    options = ["--max-length", "150", "--max-steps", "1", "--splits", "splits", "--run-dir", "run"]
    yield ["train-sft", *options]


def record_tokens(folder: Path, datum: str) -> Commands:
    run_dir = pipeline().copy(folder, "partition")
    path = run_dir / "classify" / "system1.jsonl"
    line = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    (folder / "splits").mkdir()
    text = f"{json.dumps(line | {'prompt': datum, 'completion': datum})}\n" * 8
    (folder / "splits" / "system1.jsonl").write_text(text, encoding="utf-8")
    options = ["--dry-run", "--show-tokens", "2", "--splits", "splits", "--run-dir", "run"]
    yield ["train-sft", *options]


def review_id(folder: Path, datum: str) -> Commands:
    line = json.dumps({"id": datum, "label": "system1"})
    (folder / "review.jsonl").write_text(f"{line}\n", encoding="utf-8")
    yield ["classify", str(pipeline().data), "--review", "review.jsonl", *RULES]


def completions_id(folder: Path, datum: str) -> Commands:
    pipeline().copy(folder, "classify")
    line = json.dumps({"id": datum, "completion": datum})
    (folder / "made.jsonl").write_text(f"{line}\n", encoding="utf-8")
    yield ["eval", "--completions", "made.jsonl", "--run-dir", "run"]


def run_directory(folder: Path, datum: str) -> Commands:
    yield ["status", f"--run-dir={datum}"]
    yield ["score", f"--run-dir={datum}"]
    pipeline().copy(folder, "eval", datum)
    yield ["status", f"--run-dir={datum}", "--json"]
    yield ["status", f"--run-dir={datum}"]
    yield ["report", "--markdown", f"--run-dir={datum}"]
    yield ["partition", "--theta", "0.6", f"--run-dir={datum}"]
    yield ["inspect", "--", f"{datum}/partition"]
    yield ["report", f"--out={datum}.md", f"--run-dir={datum}"]


def evaluated_adapter(folder: Path, datum: str) -> Commands:
    run_dir = pipeline().copy(folder, "train-rl")
    quick = ["--max-new-tokens", "2", "--limit", "2", "--run-dir", "run"]
    yield ["eval", f"--adapter={datum}", *quick]
    yield ["eval", f"--adapter={datum}=nowhere", *quick]
    yield ["eval", f"--adapter=base,{datum}={run_dir / 'train-sft' / 'adapter'}", *quick]
    yield ["report", "--markdown", "--run-dir", "run"]


def evaluation_name(folder: Path, datum: str) -> Commands:
    pipeline().copy(folder, "train-rl")
    quick = ["--max-new-tokens", "2", "--limit", "2", "--run-dir", "run", "--adapter", "base"]
    yield ["eval", f"--name={datum}", *quick]
    yield ["status", "--run-dir", "run"]
    yield ["report", "--markdown", "--run-dir", "run"]


def adapter_folder(folder: Path, datum: str) -> Commands:
    pipeline().copy(folder, "partition")
    yield ["train-sft", "--run-dir", "run", f"--adapter={datum}"]
    yield ["train-sft", "--run-dir", "run", f"--mask={datum}"]
    yield ["partition", "--run-dir", "run", f"--importance={datum}"]
    yield ["inspect", "--", datum]
    (folder / datum).mkdir(parents=True)
    (folder / datum / "adapter_config.json").write_text("{", encoding="utf-8")
    yield ["train-sft", "--run-dir", "run", f"--adapter={datum}"]


def model_folder(folder: Path, datum: str) -> Commands:
    pipeline().copy(folder, "classify")
    yield ["score", "--run-dir", "run", f"--model=./{datum}"]
    # Of what the library says, its first line is shown: a name with a line feed ends there.
    if "\n" not in datum:
        yield ["score", "--run-dir", "run", f"--model={datum}"]
    shutil.copytree(pipeline().model, folder / datum)
    yield [*pipeline().command("score"), f"--model=./{datum}"]
    yield ["status", "--run-dir", "run"]
    yield ["report", "--markdown", "--run-dir", "run"]
    (folder / datum / "config.json").write_text('{"model_type": "none"}', encoding="utf-8")
    if "\n" not in datum:
        yield ["score", "--run-dir", "run", f"--model=./{datum}", "--seed", "5"]


def template_error(folder: Path, datum: str) -> Commands:
    pipeline().copy(folder, "classify")
    literal = json.dumps(datum, ensure_ascii=False).replace("\n", "\\n")
    for text in (f"{{{{ raise_exception({literal}) }}}}", f"{{{{ {literal} + 1 }}}}"):
        (folder / "chat.jinja").write_text(text, encoding="utf-8", newline="")
        yield ["score", "--run-dir", "run", "--template", "chat.jinja"]


def template_syntax(folder: Path, datum: str) -> Commands:
    pipeline().copy(folder, "classify")
    (folder / "chat.jinja").write_text(f"{{% {datum} %}}", encoding="utf-8", newline="")
    yield ["score", "--run-dir", "run", "--template", "chat.jinja"]


def template_name(folder: Path, datum: str) -> Commands:
    pipeline().copy(folder, "classify")
    yield ["score", "--run-dir", "run", f"--template={datum}"]
    (folder / datum).parent.mkdir(exist_ok=True)
    (folder / datum).write_text("{% if %}", encoding="utf-8")
    yield ["score", "--run-dir", "run", f"--template={datum}"]


def manifest_values(folder: Path, datum: str) -> Commands:
    run_dir = pipeline().copy(folder, "eval")
    for stage in ("classify", "score", "partition", "train-sft", "eval/heldout"):
        path = run_dir / stage / "manifest.json"
        manifest = json.loads(path.read_text(encoding="utf-8"))
        manifest["counts"] = {datum: 1} | manifest["counts"]
        manifest["notes"] = [datum, *manifest["notes"]]
        manifest["ended"] = datum if stage == "score" else manifest["ended"]
        manifest["inputs"] = {datum: {"path": datum, "sha256": datum}} | manifest["inputs"]
        path.write_text(json.dumps(manifest), encoding="utf-8")
    yield ["status", "--run-dir", "run"]
    yield ["report", "--markdown", "--run-dir", "run"]
    yield ["status", "--run-dir", "run", "--json"]
    for stage in ("partition", "train-sft"):
        yield pipeline().command(stage)


def inspected_names(folder: Path, datum: str) -> Commands:
    name = f"base_model.model.layers.0.{datum}.lora_A.weight"
    for head in ("mask", "importance"):
        kind = np.uint8 if head == "mask" else np.float32
        names = [name] if head == "mask" else [f"system1/{name}", f"system2/{name}"]
        tensors = {each: np.ones((2, 3), kind) for each in names}
        header = {"fingerprint": layout_fingerprint({name: (2, 3)}), datum: datum, "theta": datum}
        write_tensors(folder / f"{head}.safetensors", tensors, header)
        for more in ([], ["--json"], ["--tensor", datum], ["--tensor", f"{datum}?"]):
            yield ["inspect", f"{head}.safetensors", *more]
    yield ["train-sft", "--run-dir", str(pipeline().root / "run"), "--mask", "mask.safetensors"]


def configuration(folder: Path, datum: str) -> Commands:
    for content in (
        {datum: 1},
        {"partition": {datum: 1}},
        {"partition": {"theta": datum}},
        {"partition": datum},
        {"run_dir": datum, "model": datum},
    ):
        (folder / "run.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        yield ["run", "run.yaml", "--dry-run"]
    yield ["run", "--dry-run", "--", f"{datum}.yaml"]


def broken_configuration(folder: Path, datum: str) -> Commands:
    (folder / "run.yaml").write_text(f"a: [{datum}", encoding="utf-8", newline="")
    yield ["run", "run.yaml", "--dry-run"]
    yield ["teachers", "--teachers-file", "run.yaml"]


def reward_error(folder: Path, datum: str) -> Commands:
    pipeline().copy(folder, "train-sft")
    text = f"def polite(texts, references):\n    raise ValueError({datum!r})\n"
    (folder / "own_reward.py").write_text(text, encoding="utf-8")
    command = [
        each.replace("tests.faults.rewards.length", "own_reward.polite")
        for each in pipeline().command("train-rl")
    ]
    yield command


SITES: dict[str, tuple[Callable[[Path, str], Commands], bool]] = {
    "name of a teacher": (teacher_name, True),
    "model of a teacher": (teacher_model, True),
    "key variable of a teacher": (teacher_key_variable, False),
    "field of a teacher": (teacher_field, True),
    "name of a teacher that votes": (teacher_that_votes, True),
    "unknown teacher": (teacher_unknown, True),
    "inline model of a teacher": (teacher_inline_model, False),
    "answer of a teacher": (teacher_answer, False),
    "error of a provider": (provider_error, True),
    "name of a data file": (data_name, True),
    "line of a data file": (data_line, True),
    "field of a record": (data_field, True),
    "text of a record": (data_text, True),
    "values of options": (option_values, True),
    "id of a record": (record_id, True),
    "tokens of a record": (record_tokens, False),
    "id in a review": (review_id, True),
    "id in completions": (completions_id, True),
    "run directory": (run_directory, True),
    "name of an evaluated adapter": (evaluated_adapter, True),
    "name of an evaluation": (evaluation_name, True),
    "folder of an adapter": (adapter_folder, True),
    "folder of a model": (model_folder, True),
    "error of a template": (template_error, True),
    "syntax error of a template": (template_syntax, False),
    "name of a template": (template_name, True),
    "values of manifests": (manifest_values, False),
    "names in a safetensors file": (inspected_names, True),
    "configuration of a run": (configuration, True),
    "broken configuration of a run": (broken_configuration, False),
    "error of a reward": (reward_error, True),
}
# Sites with many or long commands: a part of the payloads has to do.
SLOW = (
    *("values of options", "id of a record", "run directory", "name of an evaluated adapter"),
    *("name of an evaluation", "folder of a model", "error of a reward", "values of manifests"),
)

"""Readers fed with anything: they return, or raise the one expected error; never anything else.

Each target takes text or bytes that hypothesis draws, some of it near what is valid. A case is a
thousand draws from a seed of its own, so that an interrupted call goes on.
"""

import json
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from lorapar_cli.errors import LoraparError
from tests.faults.harness import Case, Lost

KIND = "fuzzing"
CASES_EACH = 100_000
DRAWS = 2_000
SECONDS_EACH = 5


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
field_names = st.sampled_from(
    [
        *("id", "prompt", "completion", "question", "answer", "messages", "instruction", "input"),
        *("output", "context", "response", "label", "votes", "agreement", "reference_answer"),
        *("choices", "role", "content", "schema", "stage", "settings", "inputs", "outputs", "key"),
        *("teacher", "vote", "text", "tokens", "ended", "counts", "metrics", "base_model"),
    ]
)
rows = st.dictionaries(field_names | st.text(max_size=6), json_values, max_size=8)
broken_text = st.text(alphabet=st.characters(codec="utf-8"), max_size=200)
near_json = st.one_of(
    rows.map(json.dumps),
    st.lists(rows, max_size=3).map(lambda part: "\n".join(map(json.dumps, part))),
    st.tuples(rows.map(json.dumps), st.integers(0, 200), st.text(max_size=3)).map(
        lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
    ),
    broken_text,
)
file_bytes = st.one_of(
    near_json.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=200),
    near_json.map(lambda text: b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass")),
    near_json.map(lambda text: text.encode("utf-16", "surrogatepass")),
)
answers = st.one_of(
    broken_text,
    st.lists(
        st.sampled_from(
            [
                *(
                    "#### ",
                    "\\boxed{",
                    "}",
                    "<answer>",
                    "</answer>",
                    "<think>",
                    "</think>",
                    "1,080",
                ),
                *(
                    "18",
                    "-3.5",
                    "1/2",
                    "\\frac{3}{4}",
                    "$",
                    "%",
                    "(B)",
                    "B",
                    "The answer is ",
                    "\n",
                ),
                *("system 1", "System 2", '{"label": "system1"}', "not ", " or ", "```json", "```"),
                *("١", "½", "−", "1e400", "9" * 50, "{", "Question:", "</s>", "\x00", "\ud800"),
            ]
        ),
        max_size=12,
    ).map("".join),
)


def read_data(suffix: str, content: bytes, folder: Path) -> None:
    from lorapar_cli.data.readers import open_source

    path = folder / f"data{suffix}"
    path.write_bytes(content)
    for record in open_source(str(path)).records():
        json.dumps(record.to_json())


def read_labelled(content: bytes, folder: Path) -> None:
    from lorapar_cli.store.records import read_records

    path = folder / "system1.jsonl"
    path.write_bytes(content)
    for record in read_records(path):
        json.dumps(record.to_json(), ensure_ascii=False).encode("utf-8")


def read_yaml(content: bytes, folder: Path) -> None:
    import typer

    from lorapar_cli.cli import main
    from lorapar_cli.cli.config import plan_steps, read_config

    main.register()
    path = folder / "run.yaml"
    path.write_bytes(content)
    plan_steps(read_config(path), typer.main.get_command(main.app).commands, {})


def read_stage_manifest(content: bytes, folder: Path) -> None:
    from lorapar_cli.names import Stage
    from lorapar_cli.store.run_dir import RunDir

    (folder / "score").mkdir(exist_ok=True)
    (folder / "score" / "manifest.json").write_bytes(content)
    run_dir = RunDir(folder)
    if run_dir.manifest(Stage.SCORE) is not None:
        run_dir.changed_inputs(Stage.SCORE)
        run_dir.base_model()
        run_dir.template()


def read_journal(content: bytes, folder: Path) -> None:
    from lorapar_cli.labelling.scratch_database import scratch_database
    from lorapar_cli.labelling.votes.journal_index import JournalIndex

    path = folder / "votes.jsonl"
    path.write_bytes(content)
    with scratch_database(folder / "classify") as database:
        JournalIndex(database, path).read_on()


def read_mask_file(content: bytes, folder: Path) -> None:
    from lorapar_cli.store.mask_file import read_mask

    path = folder / "mask.safetensors"
    path.write_bytes(content)
    read_mask(path)


def read_importance(content: bytes, folder: Path) -> None:
    from lorapar_cli.store.importance_file import ImportanceFile

    path = folder / "importance.safetensors"
    path.write_bytes(content)
    source = ImportanceFile(path)
    for name in source.names:
        source.read(f"system1/{name}")


def read_label(text: str, _: Path) -> None:
    from lorapar_cli.labelling.teachers.label_parser import parse_label

    parse_label(text)


def read_answer(text: str, _: Path) -> None:
    from lorapar_cli.grading.answers import (
        answers_match,
        extract_answer,
        extract_choice,
        extract_strict,
        strict_match,
    )

    found = extract_answer(text)
    extract_choice(text)
    answers_match(found, text)
    answers_match("18", found)
    strict_match(extract_strict(text), text)


headers = st.dictionaries(
    st.sampled_from(["__metadata__", "a", "b", "system1/a", "system2/a", "system1/", "x/y"]),
    st.one_of(
        json_values,
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["U8", "F32", "F64", "I64", "BOOL", "F8", "BF16", ""]),
                "shape": st.lists(st.integers(-1, 5) | st.just(2**40), max_size=3),
                "data_offsets": st.lists(st.integers(-1, 40), max_size=3),
            }
        ),
        st.dictionaries(st.sampled_from(["schema", "fingerprint", "formula"]), st.text(max_size=5)),
    ),
    max_size=4,
)


def as_safetensors(parts: tuple[dict, bytes, int]) -> bytes:
    """Returns a file of a header and a body whose length field may lie."""
    header, body, lie = parts
    text = json.dumps(header).encode()
    return max(0, len(text) + lie).to_bytes(8, "little") + text + body


tensor_bytes = st.one_of(
    st.tuples(
        headers, st.binary(max_size=48), st.sampled_from([0, 0, 0, -1, 1, 10**6, 10**12])
    ).map(as_safetensors),
    st.binary(max_size=100),
)

TARGETS: dict[str, tuple[st.SearchStrategy, Callable]] = {
    "JSON Lines": (file_bytes, partial(read_data, ".jsonl")),
    "CSV": (file_bytes, partial(read_data, ".csv")),
    "JSON": (file_bytes, partial(read_data, ".json")),
    "labelled splits": (file_bytes, read_labelled),
    "YAML": (file_bytes, read_yaml),
    "manifest": (file_bytes, read_stage_manifest),
    "journal": (file_bytes, read_journal),
    "mask": (tensor_bytes, read_mask_file),
    "importance": (tensor_bytes, read_importance),
    "label parser": (answers, read_label),
    "answer extractor": (answers, read_answer),
}


def cases(seed_of_all: int) -> Iterator[Case]:
    for target in TARGETS:
        for number in range(CASES_EACH // DRAWS):
            yield Case(
                f"{KIND}: {target}",
                f"{DRAWS} draws, {number}",
                partial(_fuzz, target, seed_of_all * 10_000 + number, DRAWS),
            )


def _fuzz(target: str, number: int, draws: int, folder: Path) -> None:
    strategy, reader = TARGETS[target]

    @seed(number)
    @settings(
        max_examples=draws,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def check(drawn: str | bytes) -> None:
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(SECONDS_EACH)
        try:
            reader(drawn, folder)
        except LoraparError:
            pass
        except _TooLong:
            raise Lost(f"{target}: over {SECONDS_EACH} s for {drawn!r}") from None
        except Exception as unexpected:
            kind = type(unexpected).__name__
            raise Lost(f"{target}: {kind}: {unexpected} for {drawn!r}"[:2000]) from unexpected
        finally:
            signal.alarm(0)

    check()


class _TooLong(BaseException):
    pass


def _too_long(_: int, __: FrameType | None) -> None:
    raise _TooLong


def quick(target: str, draws: int = 200) -> None:
    """Fuzzes one target for the default tests."""
    with tempfile.TemporaryDirectory() as folder:
        _fuzz(target, 1, draws, Path(folder))

"""Readers fed with anything: they return, or raise the one expected error; never anything else.

What hypothesis draws goes to every reader of its kind: files to those of files, texts to those of
answers. Most draws damage a document that is valid or nearly so, a tenth are built from nothing. A
case is a thousand draws from a seed of its own, so that an interrupted call goes on.
"""

import functools
import itertools
import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from lorapar_cli.errors import LoraparError
from tests.faults.fuzzing_drafts import (
    answers,
    built_answers,
    built_files,
    built_tensors,
    built_yaml,
    files,
    tensor_files,
    yaml_files,
)
from tests.faults.harness import Case, Lost
from tests.faults.limits import TooLong, processor_limit

KIND = "fuzzing"
DRAWS_EACH = 100_000
DRAWS = 1_000
SECONDS_EACH = 5.0
# Every so many documents a whole run is planned of them, which takes longer than reading them.
_PLANNED = 10

Reader = Callable[[Path], None]


def read_data(path: Path) -> None:
    from lorapar_cli.data.readers import open_source

    for record in open_source(str(path)).records():
        json.dumps(record.to_json())


def read_labelled(path: Path) -> None:
    from lorapar_cli.store.records import read_records

    for record in read_records(path):
        json.dumps(record.to_json(), ensure_ascii=False).encode("utf-8")


@functools.cache
def _commands() -> dict:
    import typer

    from lorapar_cli.cli import main

    main.register()
    return typer.main.get_command(main.app).commands


_documents = itertools.count()


def read_yaml(path: Path) -> None:
    from lorapar_cli.cli.config import plan_steps, read_config

    content = read_config(path)
    if next(_documents) % _PLANNED == 0:
        plan_steps(content, _commands(), {})


def read_stage_manifest(path: Path) -> None:
    from lorapar_cli.names import Stage
    from lorapar_cli.store.run_dir import RunDir

    run_dir = RunDir(path.parent.parent)
    if run_dir.manifest(Stage.SCORE) is not None:
        run_dir.changed_inputs(Stage.SCORE)
        run_dir.base_model()
        run_dir.template()


@functools.cache
def _database() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def read_journal(path: Path) -> None:
    from lorapar_cli.labelling.votes.journal_index import JournalIndex

    _database().execute("DROP TABLE IF EXISTS journal")
    JournalIndex(_database(), path).read_on()


def read_mask_file(path: Path) -> None:
    from lorapar_cli.store.mask_file import read_mask

    read_mask(path)


def read_importance(path: Path) -> None:
    from lorapar_cli.store.importance_file import ImportanceFile

    source = ImportanceFile(path)
    for name in source.names:
        source.read(f"system1/{name}")


def read_label(text: str) -> None:
    from lorapar_cli.labelling.teachers.label_parser import parse_label

    parse_label(text)


def read_answer(text: str) -> None:
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


def _read_file(readers: dict[str, Reader], folder: Path, content: bytes) -> None:
    for name, reader in readers.items():
        path = folder / name
        path.write_bytes(content)
        _expect(name, partial(reader, path), content)


def _read_text(_: Path, text: str) -> None:
    _expect("label parser", partial(read_label, text), text)
    _expect("answer extractor", partial(read_answer, text), text)


def _expect(name: str, read: Callable[[], None], drawn: str | bytes) -> None:
    """Calls a reader; raises Lost for whatever is not the one expected error."""
    try:
        with processor_limit(SECONDS_EACH):
            read()
    except LoraparError:
        pass
    except TooLong:
        raise Lost(f"{name}: over {SECONDS_EACH:g} s for {drawn!r}") from None
    except Exception as unexpected:
        kind = type(unexpected).__name__
        raise Lost(f"{name}: {kind}: {unexpected} for {drawn!r}"[:2000]) from unexpected


# What is drawn -> what is damaged, what is built from nothing, and how it is read.
GROUPS: dict[str, tuple[st.SearchStrategy, st.SearchStrategy, Callable]] = {
    "JSON Lines, CSV, JSON, splits, manifest, journal": (
        files,
        built_files,
        partial(
            _read_file,
            {
                "data.jsonl": read_data,
                "data.csv": read_data,
                "data.json": read_data,
                "system1.jsonl": read_labelled,
                "score/manifest.json": read_stage_manifest,
                "votes.jsonl": read_journal,
            },
        ),
    ),
    "YAML": (yaml_files, built_yaml, partial(_read_file, {"run.yaml": read_yaml})),
    "mask, importance": (
        tensor_files,
        built_tensors,
        partial(
            _read_file,
            {"mask.safetensors": read_mask_file, "importance.safetensors": read_importance},
        ),
    ),
    "label parser, answer extractor": (answers, built_answers, _read_text),
}


def cases(seed_of_all: int) -> Iterator[Case]:
    for group in GROUPS:
        for number in range(DRAWS_EACH // DRAWS):
            check = partial(_fuzz, group, seed_of_all * 10_000 + number, DRAWS)
            yield Case(f"{KIND}: {group}", f"{DRAWS:,} draws for each, {number}", check)


def _fuzz(group: str, number: int, draws: int, folder: Path) -> None:
    damaged, built, read = GROUPS[group]
    (folder / "score").mkdir(exist_ok=True)

    @seed(number)
    @settings(
        max_examples=draws,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(built if number % 10 == 0 else damaged)
    def check(drawn: str | bytes) -> None:
        read(folder, drawn)

    check()


def quick(group: str, draws: int = 200) -> None:
    """Fuzzes one group for the default tests."""
    with tempfile.TemporaryDirectory() as folder:
        _fuzz(group, 1, draws, Path(folder))

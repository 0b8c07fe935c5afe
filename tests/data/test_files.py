"""Files that are compressed, in another encoding, broken in the middle, or no files at all."""

import gzip
import json
import os
import tracemalloc

import pyarrow
import pyarrow.parquet
import pytest

from lorapar_cli.data.files import kind_of_name
from lorapar_cli.data.readers import open_source
from lorapar_cli.errors import LoraparError

ROWS = [{"question": f"{i}?", "answer": f"#### {i}"} for i in range(300)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
TEXTS = {
    "jsonl": LINES,
    "json": json.dumps(ROWS, indent=1),
    "csv": "question,answer\n" + "".join(f"{r['question']},{r['answer']}\n" for r in ROWS),
    "tsv": "question\tanswer\n" + "".join(f"{r['question']}\t{r['answer']}\n" for r in ROWS),
}


def noisy_lines(count: int) -> bytes:
    """Returns lines of 2 KB that do not compress."""
    rows = ({"question": os.urandom(1000).hex(), "answer": "1"} for _ in range(count))
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def zstd(content: bytes) -> bytes:
    return pyarrow.compress(content, codec="zstd", asbytes=True)


PACK = {"gz": gzip.compress, "zst": zstd}


def prompts_of(path, **options):
    return [record.prompt for record in open_source(str(path), **options).records()]


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("packed", PACK)
def test_compressed_text_is_read_as_the_text(tmp_path, kind, packed):
    path = tmp_path / f"d.{kind}.{packed}"
    path.write_bytes(PACK[packed](TEXTS[kind].encode()))
    assert prompts_of(path) == [row["question"] for row in ROWS]
    # Files that were joined hold several compressed streams.
    if kind == "jsonl":
        path.write_bytes(PACK[packed](LINES.encode()) * 2)
        assert len(prompts_of(path)) == 600


@pytest.mark.parametrize("packed", PACK)
def test_a_truncated_or_damaged_archive_is_an_error_whatever_is_skipped(tmp_path, packed):
    path = tmp_path / f"d.jsonl.{packed}"
    whole = PACK[packed](noisy_lines(1000))
    for content in (whole[:-9], whole[: len(whole) // 2], b"garbage" + whole, whole + b"garbage"):
        path.write_bytes(content)
        with pytest.raises(LoraparError) as error:
            prompts_of(path, skip_bad=True)
        assert error.value.what == f"cannot read `{path}`"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LoraparError) as error:
        prompts_of(path)
    assert f", after `{path}:" in error.value.found


@pytest.mark.parametrize("packed", PACK)
def test_memory_stays_flat_for_compressed_text(tmp_path, packed):
    peaks = []
    for count in (500, 2000):
        path = tmp_path / f"{count}.jsonl.{packed}"
        path.write_bytes(PACK[packed](noisy_lines(count)))
        source = open_source(str(path))
        tracemalloc.start()
        assert sum(1 for _ in source.records()) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1e6 < 3e6


@pytest.mark.parametrize("name", ["d.parquet.gz", "d.txt.gz", "d.gz", "d.xlsx", "d"])
def test_unknown_kinds_of_files_are_named(tmp_path, name):
    (tmp_path / name).write_text("x")
    with pytest.raises(LoraparError, match="unknown file type"):
        open_source(str(tmp_path / name))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("kind", TEXTS)
def test_utf_16_is_recognised(tmp_path, kind, encoding):
    path = tmp_path / f"d.{kind}"
    path.write_bytes(TEXTS[kind].encode(encoding))
    with pytest.raises(LoraparError) as error:
        prompts_of(path, skip_bad=True)
    assert error.value.what == f"`{path}` is not UTF-8 text"
    assert "iconv -f UTF-16" in error.value.hint


@pytest.mark.parametrize("kind", ["json", "jsonl"])
@pytest.mark.parametrize("indent", [1, 4])
def test_an_object_of_several_lines_is_recognised(tmp_path, kind, indent):
    path = tmp_path / f"d.{kind}"
    path.write_text(json.dumps(ROWS[0], indent=indent))
    with pytest.raises(LoraparError) as error:
        prompts_of(path, skip_bad=True)
    assert error.value.found == "it is an object that takes several lines"
    assert "jq -c ." in error.value.hint
    path.write_text(json.dumps({"canary": "x", "examples": ROWS}, indent=indent))
    with pytest.raises(LoraparError) as error:
        prompts_of(path)
    assert "jq -c '.examples[]'" in error.value.hint


def test_an_object_that_holds_all_records_is_recognised(tmp_path):
    path = tmp_path / "d.json"
    path.write_text(json.dumps({"canary": "x", "examples": ROWS}))
    with pytest.raises(LoraparError) as error:
        prompts_of(path)
    assert "jq -c '.examples[]'" in error.value.found


def test_a_truncated_first_line_is_a_bad_row_as_any_other(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"question": "1?"\n' + LINES)
    with pytest.raises(LoraparError) as error:
        prompts_of(path)
    assert error.value.what == f"`{path}:1` is not a valid record"
    assert len(prompts_of(path, skip_bad=True)) == 300


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"question": null, "answer": "1"}', "field `question` is null"),
        ('{"question": "q", "answer": null}', "field `answer` is null"),
        ('{"question": "q", "answer": NaN}', "field `answer` is nan"),
        (
            '{"question": "q", "answer": {"a": 1}}',
            "field `answer` is an object without text or value",
        ),
        ('{"question": "\\ud83e", "answer": "1"}', "half a surrogate pair"),
        ("null", "null instead of a JSON object"),
        ("7", "a number instead of a JSON object"),
        ("[" * 100_000, "it is nested too deeply"),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_a_line_that_is_no_record_is_named_with_what_it_holds(tmp_path, line, found, kind):
    path = tmp_path / f"d.{kind}"
    path.write_text(f"{json.dumps(ROWS[0])}\n{line}\n")
    with pytest.raises(LoraparError) as error:
        prompts_of(path)
    assert error.value.what == f"`{path}:2` is not a valid record"
    assert found in error.value.found


def test_no_depth_of_nesting_is_more_than_an_invalid_record(tmp_path):
    """Reading, checking and writing reach their limits at depths that differ by version of Python."""
    path = tmp_path / "d.jsonl"
    refused, depths = 0, [*range(700, 1020, 5), *range(1020, 1800, 20), 100_000]
    for depth in depths:
        path.write_text('{"question": "q", "answer": "1", "x": ' + "[" * depth + "]" * depth + "}")
        found = {}
        try:
            (record,) = open_source(str(path)).records()
            found[""] = json.dumps(record.to_json())
        except LoraparError as error:
            found[error.found] = ""
            refused += 1
        assert all(not words or "nested too deeply" in words for words in found)
    assert 0 < refused < len(depths)


def test_a_csv_with_two_columns_of_one_name_is_refused(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("question,answer,answer\nq,1,2\n")
    with pytest.raises(LoraparError) as error:
        prompts_of(path, skip_bad=True)
    assert error.value.what == f"`{path}:1` has several columns named `answer`"


def test_a_parquet_with_two_columns_of_one_name_is_refused(tmp_path):
    path = tmp_path / "d.parquet"
    table = pyarrow.table([["q"], ["1"], ["2"]], names=["question", "answer", "answer"])
    pyarrow.parquet.write_table(table, path)
    with pytest.raises(LoraparError, match="several columns named `answer`"):
        prompts_of(path)


def test_binary_columns_of_parquet_are_text_or_refused(tmp_path):
    path = tmp_path / "d.parquet"
    rows = [{"question": "größer?".encode(), "answer": b"1"}, {"question": b"\xff", "answer": b"2"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    with pytest.raises(LoraparError) as error:
        prompts_of(path)
    assert error.value.what == f"`{path}:row 2` is not a valid record"
    assert error.value.found == "field `question` holds bytes that are not UTF-8 text"
    assert prompts_of(path, skip_bad=True) == ["größer?"]


def test_a_parquet_that_is_damaged_is_named_with_its_row(tmp_path):
    path = tmp_path / "d.parquet"
    rows = [{"question": os.urandom(200).hex(), "answer": "1"} for _ in range(2000)]
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, path, row_group_size=256, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = b"\0" * 2000
    path.write_bytes(content)
    with pytest.raises(LoraparError) as error:
        prompts_of(path)
    assert error.value.what == f"cannot read `{path}`"
    assert "after" in error.value.found


@pytest.mark.parametrize("name", ["p.jsonl", "p.json", "p.csv", "p.parquet", "p.jsonl.gz"])
def test_what_is_not_a_regular_file_is_refused_without_waiting(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(LoraparError) as error:
        prompts_of(tmp_path / name)
    assert error.value.what == f"`{tmp_path / name}` is not a file"
    assert error.value.found == "it is a named pipe"
    with pytest.raises(LoraparError, match="is not a file"):
        open_source("/dev/zero")


def test_a_file_that_becomes_a_pipe_is_refused_when_it_is_read(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(LINES)
    source = open_source(str(path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(LoraparError, match="is not a file"):
        list(source.records())
    path.unlink()
    with pytest.raises(LoraparError, match="no such file"):
        list(source.records())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("....jsonl", (".jsonl", "")),
        (".jsonl", (".jsonl", "")),
        (".csv.gz", (".csv", ".gz")),
        ("-rf.JSON", (".json", "")),
        ("two words .tsv", (".tsv", "")),
        ("two\nlines.ndjson", (".ndjson", "")),
        # A folder `[` and a file `].jsonl`.
        ("[/].jsonl", (".jsonl", "")),
        ("a.jsonl.", None),
        ("jsonl", None),
        ("x" * 249 + ".jsonl", (".jsonl", "")),
        ("data.jsonl.csv", (".csv", "")),
        (".gz", None),
    ],
)
def test_the_last_extensions_of_any_name_say_its_kind(name, kind):
    assert kind_of_name(name) == kind

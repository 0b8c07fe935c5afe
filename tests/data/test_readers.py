"""Every kind of file, with content that is unusual but legal, and with broken lines."""

import csv
import json
import random
import subprocess
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet
import pytest

from lorapar_cli import embedded
from lorapar_cli.data.formats import Fields
from lorapar_cli.data.readers import open_source
from lorapar_cli.errors import LoraparError, UsageError
from tests.shared_data import SHARED_DATA

EMBEDDED = Path(embedded.__file__).parent / "data" / "test.jsonl"


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def records_of(path, **options):
    return list(open_source(str(path), **options).records())


def test_all_file_kinds_hold_the_same_records(tmp_path):
    rows = [
        {"id": f"r{i}", "question": f"Wie viel? 🦆 {i}\r\nnext", "answer": f'é, "q"\n#### {i}'}
        for i in range(700)
    ]
    write_jsonl(tmp_path / "d.jsonl", rows)
    (tmp_path / "d.json").write_text(json.dumps(rows, indent=6), encoding="utf-8")
    (tmp_path / "lines.json").write_text((tmp_path / "d.jsonl").read_text(), encoding="utf-8")
    for name, delimiter in (("d.csv", ","), ("d.tsv", "\t")):
        with open(tmp_path / name, "w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, ["id", "question", "answer"], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "d.parquet")
    expected = records_of(tmp_path / "d.jsonl")
    assert len(expected) == 700
    assert expected[3].id == "r3"
    for name in ("d.json", "lines.json", "d.csv", "d.tsv", "d.parquet"):
        assert records_of(tmp_path / name) == expected, name


def test_crlf_bom_emoji_empty_lines_long_prompts_and_extra_fields(tmp_path):
    long = "word " * 20_000
    rows = [
        {"id": 7, "question": long, "answer": "#### 1", "extra": {"deep": [1, None]}},
        {"id": "", "question": "🦆\r\nline", "answer": "a\u2028b\n#### 2", "votes": "mine"},
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    content = "\ufeff" + "\r\n".join([lines[0], "", "   ", lines[1]]) + "\r\n"
    path = tmp_path / "d.jsonl"
    path.write_bytes(content.encode())
    first, second = records_of(path)
    assert first.id == "7"
    assert first.prompt == long
    assert first.extra == {"extra": {"deep": [1, None]}}
    assert second.prompt == "🦆\r\nline"
    assert second.completion == "a\u2028b\n#### 2"
    assert len(second.id) == 16
    # A field with one of our names is kept under another one, and never read as ours.
    assert second.extra == {"source_votes": "mine"}
    assert second.votes == {}


GOOD = '{"question": "1?", "answer": "#### 1"}'
BROKEN = {
    "not valid JSON": '{"question": "1?"',
    "a list instead of a JSON object": "[1]",
    "match no known format": '{"foo": 1, "bar": 2}',
    "half a surrogate pair": '{"question": "\\ud83e", "answer": "#### 1"}',
}


@pytest.mark.parametrize("found", BROKEN)
def test_a_broken_line_is_named_with_its_place_or_skipped(tmp_path, found):
    path = tmp_path / "d.jsonl"
    path.write_text(f"{GOOD}\n\n{BROKEN[found]}\n{GOOD}\n", encoding="utf-8")
    with pytest.raises(LoraparError) as error:
        records_of(path)
    assert f"`{path}:3`" in error.value.what
    assert found in error.value.found
    source = open_source(str(path), skip_bad=True)
    assert len(list(source.records())) == 2
    assert source.bad_count == 1
    assert source.bad[0].startswith(f"{path}:3: ")


def test_bytes_that_are_not_text_are_named_with_their_line(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_bytes(f"{GOOD}\n".encode() + b'{"question": "\xff"}\n')
    with pytest.raises(LoraparError, match=r"d.jsonl:2"):
        records_of(path)
    (tmp_path / "d.csv").write_bytes(b"question,answer\n1?,1\n\xff?,2\n")
    with pytest.raises(LoraparError, match=r"d.csv:3"):
        records_of(tmp_path / "d.csv")


@pytest.mark.parametrize("text", [f"[\n{GOOD},\n{GOOD}\n]\n", f"\n [{GOOD},\n{GOOD}]\n"])
def test_an_array_under_the_name_of_lines_is_told_its_name(tmp_path, text):
    path = tmp_path / "d.jsonl"
    path.write_text(text, encoding="utf-8")
    for skip_bad in (False, True):
        with pytest.raises(LoraparError, match="holds a JSON array") as error:
            records_of(path, skip_bad=skip_bad)
        assert "`.json`" in error.value.hint
    assert len(records_of(path.rename(tmp_path / "d.json"))) == 2


def test_a_conversation_is_not_question_and_answer_at_once(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(f"{GOOD}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="the same field: `talk`") as error:
        open_source(str(path), Fields(prompt="talk", completion="talk"))
    assert "`messages`" in error.value.hint


def test_an_element_that_is_not_an_object_is_named_with_its_line(tmp_path):
    path = tmp_path / "d.json"
    path.write_text(f"[\n{GOOD},\n7,\n{GOOD}\n]", encoding="utf-8")
    with pytest.raises(LoraparError, match=r"d.json:3") as error:
        records_of(path)
    assert error.value.found == "a number instead of an object: '7'"
    assert len(records_of(path, skip_bad=True)) == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "d.jsonl",
            f'{GOOD}\n{{"question": "a", "answer": "#### 1", "answer": "#### 2"}}\n{GOOD}\n',
        ),
        (
            "d.jsonl",
            f'{GOOD}\n{{"answer": "#### 1", "question": "a", "\\u0061nswer": "1"}}\n{GOOD}\n',
        ),
        ("d.json", f'[{GOOD},\n{{"answer": 1, "question": "a", "answer": 1}},\n{GOOD}]'),
        (
            "d.json",
            f'[{GOOD},\n{{"question": "a", "more": [{{"answer": 1, "answer": 2}}]}},\n{GOOD}]',
        ),
        (
            "d.csv",
            'messages\n"[{""role"": ""user"", ""content"": ""q""}, {""role"": ""assistant"", ""content"": '
            '""a""}]"\n"[{""role"": ""user"", ""answer"": ""q"", ""answer"": ""r""}]"\n"[{""role"": '
            '""user"", ""content"": ""q""}, {""role"": ""assistant"", ""content"": ""a""}]"\n',
        ),
    ],
)
def test_a_key_that_is_there_twice_is_named_with_its_line(tmp_path, name, text):
    """Which of its values was meant is not for a reader to say."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LoraparError, match=rf"{name}:{3 if name == 'd.csv' else 2}`") as error:
        records_of(path)
    assert error.value.found == "key `answer` is there more than once in one object"
    assert len(records_of(path, skip_bad=True)) == 2


def test_a_csv_row_of_the_wrong_length_is_named_with_its_line(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text('question,answer\n"two\nlines",1\nonly\n', encoding="utf-8")
    with pytest.raises(LoraparError, match=r"d.csv:4") as error:
        records_of(path)
    assert error.value.found == "1 cell where the header names 2"


def test_a_large_array_is_read_in_pieces(tmp_path):
    rows = [{"question": "x" * 5000 + str(i), "answer": f"#### {i}"} for i in range(100)]
    path = tmp_path / "d.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    assert [r.reference_answer for r in records_of(path)] == [str(i) for i in range(100)]


def test_wrong_files_and_formats_are_refused(tmp_path):
    with pytest.raises(LoraparError, match="no such data file"):
        open_source(str(tmp_path / "missing.jsonl"))
    (tmp_path / "d.txt").write_text("x")
    with pytest.raises(LoraparError, match="unknown file type"):
        open_source(str(tmp_path / "d.txt"))
    (tmp_path / "d.parquet").write_text("x")
    with pytest.raises(LoraparError, match=r"cannot read `.*d.parquet`"):
        records_of(tmp_path / "d.parquet")
    with pytest.raises(UsageError, match="did you mean `gsm8k`"):
        open_source(str(tmp_path / "d.txt"), Fields(format="gms8k"))
    with pytest.raises(UsageError, match="must be given together"):
        open_source(str(tmp_path / "d.txt"), Fields(prompt="x"))


def test_the_embedded_records_are_read_whole_and_as_they_stand():
    lines = [json.loads(line) for line in EMBEDDED.read_text(encoding="utf-8").splitlines()]
    records = records_of(EMBEDDED)
    assert len(records) == 800
    for record, line in zip(records, lines, strict=True):
        assert (record.id, record.prompt, record.completion) == (
            line["id"],
            line["question"],
            line["answer"],
        )
        assert record.reference_answer == line["answer"].rsplit("#### ", 1)[1]
        assert record.extra == {"source_label": line["label"], "steps": line["steps"]}


@pytest.mark.parametrize(
    ("folder", "name", "count"),
    [
        pytest.param(folder, *rest, marks=pytest.mark.shared_data(folder), id=folder)
        for folder, *rest in [
            ("gsm8k", "train.jsonl", 7473),
            ("codealpaca", "code_alpaca_2k.json", 2017),
            ("arc", "challenge_train.json", 1119),
            ("boolq", "train.json", 9427),
            ("mmlu", "dev.jsonl", 285),
            ("humaneval", "HumanEval.jsonl", 164),
        ]
    ],
)
def test_published_data_is_read_whole(folder, name, count):
    assert len(records_of(SHARED_DATA / folder / name)) == count


@pytest.mark.shared_data("gsm8k")
def test_gsm8k_answers_keep_their_text_and_their_separators():
    path = SHARED_DATA / "gsm8k" / "train.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    records = records_of(path)
    assert [r.completion for r in records] == [line["answer"] for line in lines]
    golds = [line["answer"].rsplit("#### ", 1)[1] for line in lines]
    assert [r.reference_answer for r in records] == golds
    assert sum("," in gold for gold in golds) == 79


def kept(path, **options):
    source = open_source(str(path), skip_bad=True, **options)
    return [record.prompt for record in source.records()], source


def test_skip_bad_skips_elements_of_an_array_that_are_not_records(tmp_path):
    path = tmp_path / "data.json"
    good = [json.dumps({"instruction": f"q{i}", "output": "a" * 9000}) for i in range(40)]
    for separator, line in ((",\n", 21), (", ", 1)):
        elements = [*good[:20], '{"instruction": "bad"}', *good[20:], "7"]
        path.write_text("[" + separator.join(elements) + "]", encoding="utf-8")
        prompts, source = kept(path)
        assert prompts == [f"q{i}" for i in range(40)]
        assert source.bad_count == 2
        assert source.bad[0].startswith(f"{path}:{line}: fields `instruction`")
        assert source.bad[1].endswith("a number instead of an object: '7'")


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[\n{"question": "1?", "answer": "1"},\n{"question": \n', 3),
        (f"[{GOOD},\n{GOOD},,\n{GOOD}]", 2),
        (f"[{GOOD}\n{GOOD}]", 2),
        (f"[{GOOD},\n]", 2),
        (f"[{GOOD}", 1),
        (f"[{GOOD}]\n[{GOOD}]", 2),
        ("\ufeff \n" + " " * 100_000 + f"[{GOOD},]", 2),
    ],
)
def test_a_syntax_error_in_an_array_is_never_skipped(tmp_path, text, line, skip_bad):
    path = tmp_path / "data.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LoraparError) as error:
        list(open_source(str(path), skip_bad=skip_bad).records())
    assert error.value.what == f"`{path}:{line}` is not valid JSON"


def test_skip_bad_resumes_after_what_is_broken_in_csv(tmp_path):
    path = tmp_path / "data.csv"
    rows = ["question,answer", '"a" b,1', '"c, d",2', "only", '"e\r\nf",3']
    path.write_bytes(("\ufeff" + "\r\n".join(rows) + "\r\n").encode())
    prompts, source = kept(path)
    assert prompts == ["c, d", "e\r\nf"]
    assert [found.split(": ")[0] for found in source.bad] == [f"{path}:2", f"{path}:4"]


def test_parquet_keeps_fields_that_json_has_no_type_for(tmp_path):
    columns = {
        "question": ["q"],
        "answer": ["1"],
        "when": [datetime(2020, 1, 2)],
        "amount": [Decimal("1.50")],
        "caption": ["größer".encode()],
        "score": [float("nan")],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "data.parquet")
    (record,) = open_source(str(tmp_path / "data.parquet")).records()
    assert record.extra == {
        "when": "2020-01-02T00:00:00",
        "amount": "1.50",
        "caption": "größer",
        "score": None,
    }


def peak_of_reading(path):
    """Peak resident memory, in MB, of a process that reads a file once."""
    program = (
        "import sys; from lorapar_cli.data.readers import open_source\n"
        "for _ in open_source(sys.argv[1], skip_bad=True).records(): pass\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1024


@pytest.mark.parametrize("kind", ["json", "csv", "parquet", "jsonl", "bad.jsonl", "bad.json"])
def test_reading_takes_no_memory_for_a_record(tmp_path, kind):
    """The larger file holds 30 MB more of text that does not compress."""
    noise = random.Random(0)
    peaks = []
    for count in (10_000, 40_000):
        rows = [
            {"question": noise.randbytes(400).hex(), "answer": noise.randbytes(100).hex()}
            for _ in range(count)
        ]
        path = tmp_path / f"{count}.{kind}"
        lines = [json.dumps(row) for row in rows]
        if kind == "bad.jsonl":
            lines[1::2] = [line[:-9] for line in lines[1::2]]
        if kind == "bad.json":
            lines[1::2] = [line.replace("answer", "reply") for line in lines[1::2]]
        if kind == "parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        elif kind == "csv":
            path.write_text(
                "".join(["question,answer\n", *(",".join(r.values()) + "\n" for r in rows)])
            )
        elif kind.endswith("json"):
            path.write_text("[" + ",\n".join(lines) + "]")
        else:
            path.write_text("\n".join(lines))
        peaks.append(peak_of_reading(path))
    assert peaks[1] - peaks[0] < 10

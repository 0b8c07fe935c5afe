"""The student's scores against single forward passes in float64, and what becomes of them."""

import json
import math

import pytest
import torch

from lorapar_cli.embedded.corpus import training_records
from lorapar_cli.errors import UsageError
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.labelling.teachers.catalog import find_teachers
from lorapar_cli.labelling.teachers.student import (
    StudentScore,
    StudentVoter,
    read_score,
    split_answer,
)
from lorapar_cli.models.base_model import find_base_model, load_base, load_tokenizer
from lorapar_cli.models.rendering.tokenization import encode_prompt
from lorapar_cli.names import System
from lorapar_cli.store.records import Record
from tests.labelling.classify_parts import run_classify

RULES = ["rules-operations", "rules-shape"]


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """Records of the embedded corpus, with and without a chain."""
    return [Record(line["id"], line["question"], line["answer"]) for line in training_records(3, 8)]


@pytest.fixture
def data(tmp_path, records):
    path = tmp_path / "data.jsonl"
    path.write_text(
        "".join(
            json.dumps({"id": r.id, "prompt": r.prompt, "completion": r.completion}) + "\n"
            for r in records
        )
    )
    return path


def log_probability(model, context, answer) -> float:
    """Sums the log-probabilities of the answer's tokens behind the context, one pass alone."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([context + answer])).logits[0].double()
    found = logits.log_softmax(-1)[len(context) - 1 : -1]
    return sum(found[place, token].item() for place, token in enumerate(answer))


def test_scores_equal_single_passes_in_float64(records):
    (teacher,) = find_teachers(["student"], model="embedded", student_chain=True)
    scores = StudentVoter(teacher, with_chain=True).score(records)
    base = find_base_model("embedded")
    tokenizer, model = load_tokenizer(base), load_base(base, dtype="float32").double()
    gains = 0
    for record, score in zip(records, scores, strict=True):
        *chain, last = record.completion.split("\n")
        answer = [*tokenizer(last, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        prompt = encode_prompt(tokenizer, record.prompt)
        at_once = log_probability(model, prompt, answer)
        assert score.direct == pytest.approx(math.exp(at_once), abs=2e-4)
        assert (score.gain is None) == (not chain)
        if chain:
            gains += 1
            text = "".join(line + "\n" for line in chain)
            behind = prompt + tokenizer(text, add_special_tokens=False)["input_ids"]
            later = log_probability(model, behind, answer)
            assert score.gain == pytest.approx(later - at_once, abs=2e-3)
    assert 0 < gains < len(records)
    assert max(score.direct for score in scores) > 0.5


@pytest.mark.parametrize(
    ("direct", "gain", "vote"),
    [
        (0.5, None, System.SYSTEM1),
        (0.93, 0.07, System.SYSTEM1),
        (0.499999, None, None),
        (0.3, 0.6, None),
        (0.3, 0.7, System.SYSTEM2),
        (0.0, 12.0, System.SYSTEM2),
        (0.2, -3.0, None),
        (None, None, None),
    ],
)
def test_half_is_system_1_and_a_doubling_system_2(direct, gain, vote):
    assert StudentScore(direct, gain).vote() == vote


@pytest.mark.parametrize(
    ("completion", "parts"),
    [
        ("#### 7", ("", "#### 7")),
        ("red", ("", "red")),
        ("3*4=12.\n12-5=7.\n#### 7", ("3*4=12.\n12-5=7.\n", "#### 7")),
        ("3*4=12.\r\n#### 12\n", ("3*4=12.\r\n", "#### 12")),
        ("#### 7\nThat was easy.", ("#### 7\nThat was easy.\n", "7")),
        ("First, boil water.\nThen wait.", None),
        ("  \n ", None),
    ],
)
def test_the_direct_answer_is_found_in_the_completion(completion, parts):
    assert split_answer(completion) == parts


def test_votes_and_scores_are_journaled_and_kept_in_the_labels(tmp_path, data):
    first = run_classify(tmp_path / "run", data, [*RULES, "student"], model="embedded", holdout=0.0)
    lines = [json.loads(line) for line in (first.folder / "labels.jsonl").open()]
    assert len(lines) == 16
    for line in lines:
        scores = line["student_scores"]
        assert scores["gain"] is None
        expected = "system1" if scores["direct"] >= 0.5 else None
        assert line["votes"]["student"] == expected
        assert set(line["votes"]) == {*RULES, "student"}
    row = first.manifest.counts["teachers"]["student"]
    assert row["asked"] == 16
    assert row["system1"] + row["no_vote"] == 16
    assert row["system1"] > 0
    # A rule less decides otherwise, but the student is not asked again.
    again = run_classify(
        tmp_path / "run", data, [RULES[0], "student"], model="embedded", holdout=0.0
    )
    assert again.manifest.counts["teachers"]["student"]["from_journal"] == 16
    assert again.manifest.counts["teachers"]["student"]["asked"] == 0
    kept = [json.loads(line) for line in (again.folder / "labels.jsonl").open()]
    assert {r["id"]: r["student_scores"] for r in kept} == {
        r["id"]: r["student_scores"] for r in lines
    }


def test_the_chain_adds_votes_for_system_2(tmp_path, data):
    run_classify(tmp_path / "run", data, [*RULES, "student"], model="embedded", holdout=0.0)
    outcome = run_classify(
        tmp_path / "run",
        data,
        [*RULES, "student"],
        model="embedded",
        holdout=0.0,
        student_chain=True,
    )
    row = outcome.manifest.counts["teachers"]["student"]
    assert row["asked"] == 16, "other scores are another question"
    assert row["system2"] > 0
    lines = [json.loads(line) for line in (outcome.folder / "labels.jsonl").open()]
    chained = [line for line in lines if "\n" in line["completion"]]
    assert chained
    assert all(line["student_scores"]["gain"] is not None for line in chained)


def test_the_identity_covers_the_models_files_and_what_is_computed(tmp_path, tiny_model_dir):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_model_dir, copy)

    def revision(**changed):
        (found,) = find_teachers(["student"], model=str(copy), **changed)
        return found.revision

    plain = revision()
    assert plain == revision()
    assert plain != revision(student_chain=True)
    (copy / "tokenizer_config.json").write_text((copy / "tokenizer_config.json").read_text() + "\n")
    assert revision() != plain


def test_the_student_needs_a_model_and_the_chain_a_student(tmp_path, data):
    with pytest.raises(UsageError, match="none is known"):
        run_classify(tmp_path / "run", data, ["student"])
    with pytest.raises(UsageError, match="`--student-chain` is for"):
        ClassifyOptions(data=("x",), teachers=("rules-cues",), student_chain=True)


def test_a_record_that_is_too_long_abstains(tiny_model_dir):
    (teacher,) = find_teachers(["student"], model=str(tiny_model_dir))
    voter = StudentVoter(teacher, with_chain=False)
    long, short = Record("a", "x" * 600, "#### 7"), Record("b", "x", "#### 7")
    scores = voter.score([long, short])
    assert scores[0] == StudentScore(None, None)
    assert scores[1].direct is not None
    assert scores[1].direct == pytest.approx(voter.score([short])[0].direct, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"direct": 0.25, "gain": null}', {"direct": 0.25, "gain": None}),
        ("System1", None),
        ('{"direct": "high", "gain": null}', None),
        ('{"direct": NaN, "gain": null}', None),
        (f'{{"direct": {"9" * 400}, "gain": null}}', None),
        ("[" * 100_000, None),
    ],
)
def test_a_journal_that_was_edited_gives_no_scores(text, score):
    assert read_score(text) == score

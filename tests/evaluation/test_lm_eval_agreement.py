"""Sample-by-sample agreement with lm-evaluation-harness, on a random and on the embedded model."""

import pytest

from lorapar_cli.evaluation.evaluate import evaluate
from lorapar_cli.evaluation.lm_eval_backend import load_harness_task
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.grading.answers import extract_strict, strict_match
from lorapar_cli.names import EMBEDDED
from lorapar_cli.store.records import read_jsonl, write_jsonl
from lorapar_cli.store.run_dir import RunDir
from tests.shared_data import SHARED_DATA

pytestmark = [pytest.mark.extra("lm_eval"), pytest.mark.shared_data("gsm8k", "mmlu")]
# A letter's margin below which rounding alone decides.
TIE = 1e-4


@pytest.fixture(params=["random", EMBEDDED])
def model(request, tiny_model_dir):
    return str(tiny_model_dir) if request.param == "random" else EMBEDDED


@pytest.fixture
def evaluate_by_both(tmp_path, model):
    """Returns a function from options to the samples of both backends."""

    def call(**options):
        outcomes = [
            evaluate(
                RunDir(tmp_path), EvalOptions(model=model, name=backend, backend=backend, **options)
            )
            for backend in ("transformers", "lm-eval")
        ]
        return [[s for _, s in read_jsonl(o.folder / "samples.jsonl")] for o in outcomes]

    return call


# Examples do not fit the random model's 512 positions.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "shots"), [("random", 0), (EMBEDDED, 0), (EMBEDDED, 2)], indirect=["model"]
)
def test_gsm8k(evaluate_by_both, model, shots):
    ours, theirs = evaluate_by_both(
        task="gsm8k",
        style="harness",
        data=str(SHARED_DATA / "gsm8k" / "test.jsonl"),
        fewshot_data=str(SHARED_DATA / "gsm8k" / "train.jsonl"),
        num_fewshot=shots,
        limit=100,
        max_new_tokens=48,
    )
    assert len(ours) == len(theirs) == 100
    for our, their in zip(ours, theirs, strict=True):
        for key in ("id", "prompt", "completion", "extracted_strict", "correct_strict"):
            assert our[key] == their[key], key
    assert len({sample["completion"] for sample in ours}) > 10


@pytest.mark.slow
@pytest.mark.parametrize("shots", [0, 1])
def test_mmlu(evaluate_by_both, model, shots, tmp_path):
    rows = [line for _, line in read_jsonl(SHARED_DATA / "mmlu" / "dev.jsonl")]
    seen, examples, questions = set(), [], []
    for row in rows:
        (questions if row["subject"] in seen else examples).append(row)
        seen.add(row["subject"])
    # One question of college physics is published twice; it could not be its own example.
    shown = [row["question"] for row in examples]
    questions = [row for row in questions if row["question"] not in shown]
    write_jsonl(tmp_path / "examples.jsonl", examples)
    write_jsonl(tmp_path / "questions.jsonl", questions)
    ours, theirs = evaluate_by_both(
        task="mmlu",
        data=str(tmp_path / "questions.jsonl"),
        fewshot_data=str(tmp_path / "examples.jsonl"),
        num_fewshot=shots,
        batch_size=16,
    )
    assert len(ours) == len(theirs) == len(questions) > 200
    for our, their in zip(ours, theirs, strict=True):
        assert our["id"] == their["id"]
        assert our["prompt"] == their["prompt"]
        assert our["scores"] == pytest.approx(their["scores"], abs=1e-4)
        first, second = sorted(our["scores"], reverse=True)[:2]
        if first - second > TIE:
            assert our["correct"] == their["correct"]
    if model == EMBEDDED:
        assert len({sample["extracted"] for sample in ours}) > 1
    ties = sum(a["extracted"] != b["extracted"] for a, b in zip(ours, theirs, strict=True))
    assert ties == 0


# The prompts are the same for every model.
@pytest.mark.parametrize("model", [EMBEDDED], indirect=True)
@pytest.mark.parametrize("task", ["gsm8k", "mmlu"])
def test_no_question_is_its_own_example_in_either_backend(evaluate_by_both, model, task, tmp_path):
    numbers = range(4)
    rows = {
        "gsm8k": [{"question": f"{n} plus {n}?", "answer": f"#### {2 * n}"} for n in numbers],
        "mmlu": [
            {"subject": "anatomy", "question": f"{n} plus 1?", "choices": [*"1234"], "answer": n}
            for n in numbers
        ],
    }[task]
    write_jsonl(tmp_path / "questions.jsonl", rows)
    write_jsonl(
        tmp_path / "examples.jsonl", [r | {"question": r["question"].upper()} for r in rows]
    )
    samples = evaluate_by_both(
        task=task,
        data=str(tmp_path / "questions.jsonl"),
        fewshot_data=str(tmp_path / "examples.jsonl"),
        num_fewshot=3,
        max_new_tokens=8,
        **({"style": "harness"} if task == "gsm8k" else {}),
    )
    for ours, theirs, row in zip(*samples, rows, strict=True):
        assert ours["prompt"] == theirs["prompt"]
        assert ours["prompt"].upper().count(row["question"].upper()) == 1
        assert ours["prompt"].upper().count("PLUS") == 4


def test_strict_grades_of_completions_as_models_write_them():
    """The harness grades canned completions of real questions; so do we."""
    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM

    rows = [line for _, line in read_jsonl(SHARED_DATA / "gsm8k" / "test.jsonl")][:400]
    gold = [row["answer"].rpartition("#### ")[2] for row in rows]
    forms = [
        "so\n#### {}", "#### {}.", "#### ${}", "####{}", "the answer is {}", "#### {}.00",
        "#### {}\n#### 7", "#### 7\n#### {}", "#### -{}", "#### {},", "#### {} dollars", "\\boxed{{{}}}",
        "", "#### ", "#### x", "#### {}0",
    ]  # fmt: skip
    written = [forms[n % len(forms)].format(answer) for n, answer in enumerate(gold)]

    class Canned(LM):
        def generate_until(self, requests, disable_tqdm=False):
            return written

        def loglikelihood(self, requests):
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

    task = load_harness_task("gsm8k", "gsm8k/gsm8k.yaml", {"train": rows, "test": rows})
    samples = simple_evaluate(model=Canned(), tasks=[task], num_fewshot=0, bootstrap_iters=0)
    theirs = [s for s in samples["samples"]["gsm8k"] if s["filter"] == "strict-match"]
    assert len(theirs) == len(rows)
    for their, text, reference in zip(theirs, written, gold, strict=True):
        found = extract_strict(text)
        assert their["filtered_resps"][0] == (found or "[invalid]")
        assert strict_match(found, reference) == bool(their["exact_match"]), text
    right = sum(their["exact_match"] for their in theirs)
    assert 0.2 * len(rows) < right < 0.8 * len(rows)


@pytest.mark.slow
def test_an_adapter_completes_as_in_transformers(tmp_path, tiny_model_dir, adapters):
    found = {}
    for backend in ("transformers", "lm-eval"):
        outcome = evaluate(
            RunDir(tmp_path),
            EvalOptions(
                task="gsm8k",
                style="harness",
                data=str(SHARED_DATA / "gsm8k" / "test.jsonl"),
                num_fewshot=0,
                limit=20,
                adapter=("base", f"mine={adapters['sft']}"),
                model=str(tiny_model_dir),
                name=backend,
                backend=backend,
                max_new_tokens=16,
            ),
        )
        lines = [line for _, line in read_jsonl(outcome.folder / "samples.jsonl")]
        found[backend] = [(line["model"], line["id"], line["completion"]) for line in lines]
    assert found["transformers"] == found["lm-eval"]
    assert [text for *_, text in found["lm-eval"][:20]] != [t for *_, t in found["lm-eval"][20:]]

"""`report`: every figure of the page comes from a manifest, and what changed since is said."""

import json
import re
import shutil
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.stage_records.evaluation import EvalRecord
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.tools.report import report
from tests.tools.finished_runs import RATE_SEARCH, write_run


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run")


@pytest.mark.parametrize(
    "line",
    [
        "Base model: `embedded`, revision `local:0123456789abcdef`",
        "200 records, 95 % intervals. Accuracy is that of one completion per record: first of 8 draws.",
        "| model | pass@1 (mean of 8 draws) | pass@4 (from 8 draws) | maj@4 (vote of 4 draws) |",
        "| rl | 50.0 % (40.0 to 60.0) | 75.0 % (70.0 to 80.0) | 60.0 % (50.0 to 70.0, n=200) |",
        "| rl | 75.0 % (65.0 to 85.0, n=200) | 70.0 % (60.0 to 80.0, n=100) | "
        "80.0 % (70.0 to 90.0, n=100) |",
        "| rl - base | +40.0 (+35.0 to +45.0), p 0.02 | +20.0 (+15.0 to +25.0), p 0.02 | "
        "+60.0 (+55.0 to +65.0), p 0.02 |",
        "| Krippendorff's alpha | 0.812 |",
        "| gpt\\|4 | 60 | 38 | 2 | 100 | 0.2500 | 75.0 % |",
        "| local | 60 | 38 | 2 | 100 | unknown | 50.0 % |",
        "- a note of classify",
        "`taylor2` of 2,000 elements in 4 matrices, init `pissa`, r 8, lora_alpha 64; samples: "
        "57 System 1, 38 System 2.",
        "importance, theta 0.9 and 0.5, alpha 0.5, beta 1; Jaccard index of the two top sets 0.200.",
        "| shared | 200 | 10.0 % |",
        "| active in RL | 600 | 30.0 % |",
        "| steps | 10 | 1,234 |",
        "| active elements | 25.0 % | 30.0 % |",
        "| last mean reward |  | 0.5000 |",
        "| completions cut off |  | 25.0% |",
    ],
)
def test_a_page_has_what_the_manifests_say(run, tmp_path, line):
    assert line in report(run, tmp_path).splitlines()


def test_given_options_files_and_machines_are_listed(run, tmp_path):
    page = report(run, tmp_path)
    manifest = run.manifest(Stage.CLASSIFY)
    assert "`--teachers 'gpt\\|4,local'` `--limit 100` |" in page
    assert f"| classify | in: data | `{manifest.inputs['data']['sha256'][:12]}` |" in page
    assert f"| eval/test | result | `{_sha256(run.root / 'eval/test/result')[:12]}` |" in page
    assert f"torch {manifest.libraries['torch']}" in page


def test_given_options_stand_as_they_are_typed(run, tmp_path):
    """A switch that is off has a name only where it is on by default."""
    given = {"forgetting": False, "find_lr": True, "packing": False, "from_": "init"}
    given |= {"training": ["bf16=false", "a=b c"], "max_length": None}
    manifest = run.manifest(Stage.TRAIN_SFT)
    manifest.settings |= given
    manifest.given = [*given]
    write_manifest(run.folder(Stage.TRAIN_SFT), manifest)
    (line,) = [
        line for line in report(run, tmp_path).splitlines() if line.startswith("| train-sft | 2")
    ]
    typed = set(line.split(" | ")[4].removesuffix(" |")[1:-1].split("` `"))
    assert typed == {
        "--no-forgetting",
        "--find-lr",
        "--from init",
        "--training bf16=false",
        "--training 'a=b c'",
    }


def _sha256(path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_changed_input_is_said_first(run, tmp_path):
    assert "stale" not in report(run, tmp_path)
    (run.root / "data.jsonl").write_text("{}\n{}\n")
    first, *_ = [line for line in report(run, tmp_path).splitlines() if line.startswith("**")]
    assert first.startswith("**`classify` is stale")
    assert "data" in first


def test_pictures_are_linked_from_where_the_page_lies(run, tmp_path):
    for name in ("train-sft.png", "train-sft-learning-rates.png"):
        (run.root / name).write_bytes(b"")
    (run.root / "partition" / "plots").mkdir()
    (run.root / "partition" / "plots" / "scatter.png").write_bytes(b"")
    page = report(run, tmp_path / "notes")
    assert "![train-sft](../run/train-sft.png)" in page
    assert "![train-sft-learning-rates](../run/train-sft-learning-rates.png)" in page
    assert "![scatter](../run/partition/plots/scatter.png)" in page


ODD = "my [run] *a* `b` $x$ _c_ ü | d_e (1)"


def test_names_with_markup_are_shown_as_they_are(tmp_path):
    run = write_run(tmp_path / ODD)
    (run.root / "train-sft.png").write_bytes(b"")
    (run.folder(Stage.EVAL) / "test").rename(run.folder(Stage.EVAL) / "*a* _b_")
    page = report(run, tmp_path)
    html = MarkdownIt("commonmark").enable("table").render(page)
    assert f"<h1>{run.root}</h1>" in html
    assert "<h2>Accuracy: *a* _b_</h2>" in html
    assert "<td>eval/*a* _b_</td>" in html
    (address,) = re.findall(r'<img src="([^"]*)" alt="train-sft"', html)
    assert tmp_path / unquote(address) == run.root / "train-sft.png"


def test_one_stage_has_no_empty_rows(run, tmp_path):
    shutil.rmtree(run.folder(Stage.TRAIN_RL))
    page = report(run, tmp_path)
    assert "| mean loss | 1.2500 |" in page
    assert "reward" not in page.partition("## Training")[2].partition("## ")[0]
    assert "|  |\n" not in page.partition("## Training")[2].partition("## ")[0].partition("---")[2]


def test_a_search_for_the_learning_rate_is_laid_out(tmp_path):
    page = report(write_run(tmp_path / "run", search=RATE_SEARCH), tmp_path)
    for line in (
        "| learning rate | 0.003 | 0.0002 |",
        "`train-sft`, `--find-lr`: 0.003, best held-out loss after 20 steps. Each of 3 trials took 20 "
        "steps, and was measured on 25 held-out records; all took 61 s.",
        "| learning rate | held-out loss | behind the best, ± standard error |",
        "| untrained | 1.5000 |  |",
        "| 0.001 | 1.2500 | 0.2500 ± 0.0625 |",
        "| 0.009 | diverged |  |",
    ):
        assert line in page.splitlines()
    assert page.count("`--find-lr`") == 1


def test_a_run_of_some_stages_has_their_sections_only(tmp_path):
    run = write_run(tmp_path / "run")
    for stage in (Stage.TRAIN_SFT, Stage.TRAIN_RL, Stage.EVAL):
        run.folder(stage).rename(tmp_path / stage)
    page = report(run, tmp_path)
    assert "## Partition" in page
    for title in ("## Training", "## Accuracy", "## Pictures"):
        assert title not in page


def test_a_run_without_a_finished_stage_is_an_error(tmp_path):
    with pytest.raises(LoraparError, match="no stage has finished"):
        report(RunDir(tmp_path), tmp_path)


SYSTEM1 = {"n": 2, "correct": 2, "accuracy": 1.0, "interval": [0.342, 1.0]}
SYSTEM2 = {"n": 1, "correct": 0, "accuracy": 0.0, "interval": [0.0, 0.793]}
ROW = {
    "n": 3,
    "correct": 2,
    "accuracy": 2 / 3,
    "interval": [0.208, 0.939],
    "by_system": {"system1": SYSTEM1, "system2": SYSTEM2},
    "completions": 6,
    "cut": 0,
}
DIFFERENCE = {
    "n": 3,
    "only_first": 1,
    "only_second": 0,
    "difference": 1 / 3,
    "p_value": 1.0,
    "interval": [-0.286, 0.686],
}
PAIR = DIFFERENCE | {"by_system": {"system1": DIFFERENCE, "system2": DIFFERENCE}}


@pytest.fixture
def sampled(tmp_path):
    """A run directory with one evaluation, of several samples."""
    settings = {"task": "gsm8k", "k": [1, 2], "samples": 2}
    manifest = Manifest(Stage.EVAL, settings, ["k", "samples"])
    manifest.keep(
        EvalRecord(
            {"items": 3, "without_reference": 0, "tokens": {"base": 9, "mine": 9}},
            {
                "models": [ROW | {"model": "base"}, ROW | {"model": "mine"}],
                "pairs": [PAIR | {"model": "mine", "against": "base"}],
            },
        )
    )
    folder = RunDir(tmp_path).folder(Stage.EVAL) / "mine"
    folder.mkdir(parents=True)
    write_manifest(folder, manifest)
    return RunDir(tmp_path)


def test_accuracies_and_differences(sampled):
    page = report(sampled, sampled.root)
    assert "## Accuracy: mine (gsm8k)\n\n3 records, 95 % intervals." in page
    cells = "66.7 % (20.8 to 93.9, n=3) | 100.0 % (34.2 to 100.0, n=2) | 0.0 % (0.0 to 79.3, n=1)"
    table = page[page.index("| model | all | System 1 | System 2 |") :].splitlines()
    assert table[2:4] == [f"| base | {cells} |", f"| mine | {cells} |"]
    shown = "+33.3 (-28.6 to +68.6), p 1"
    assert f"| mine - base | {shown} | {shown} | {shown} |" in page


def test_options_with_several_numbers_are_shown(sampled):
    assert "`--samples 2` `--k 1,2`" in report(sampled, sampled.root)


def test_metrics_of_the_harness_keep_their_names(tmp_path):
    run = write_run(tmp_path / "run")
    metric = {"metric": "acc", "filter": "none", "value": 0.5, "stderr": None}
    task = {"task": "toy", "is_group": False, "version": None, "num_fewshot": 0, "n": 4}
    row = {"model": "base", "tasks": [task | {"metrics": [metric | {"higher_is_better": None}]}]}
    folder = run.folder(Stage.EVAL) / "toy"
    folder.mkdir()
    counts = {"items": 4, "without_reference": 0, "tokens": {}}
    settings = {"task": "toy", "match": "harness", "models": ["base"], "base_model": None}
    metrics = {"models": [], "pairs": [], "harness": [row]}
    write_manifest(folder, Manifest(Stage.EVAL, settings, counts=counts, metrics=metrics))
    page = report(run, tmp_path)
    assert "## lm-evaluation-harness: toy" in page
    assert "| toy | acc, none | 0.5000 |" in page


def test_a_comparison_of_earlier_stages_is_called_so(run, tmp_path):
    folder = run.root / "compare"
    folder.mkdir()
    (folder / "compare.md").write_text("# Comparison\n\nIt does.\n")
    (run.folder(Stage.SCORE) / "importance.safetensors").write_bytes(b"x")
    write_manifest(run.folder(Stage.SCORE), run.manifest(Stage.SCORE))
    now = _sha256(run.folder(Stage.SCORE) / "importance.safetensors")

    def page_of(content):
        (folder / "results.json").write_text(json.dumps(content))
        return report(run, tmp_path)

    for told in ({}, [], {"inputs": {}}, {"inputs": {"score/importance.safetensors": now}}):
        assert "Since then" not in page_of(told)
    earlier = page_of({"inputs": {"score/importance.safetensors": "then"}})
    assert "Since then, `score` has changed: `lorapar compare` goes on from the present" in earlier

"""`report`: a page that needs nothing but itself, and shows text of others as text."""

import json
import re

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.tools.page.examples import sample_patterns, shorten
from lorapar_cli.tools.page.page import (
    comparison_page,
    name_anchors,
    run_page,
    to_html,
    write_page,
)
from tests.tools.finished_runs import RATE_SEARCH, write_run
from tests.tools.page.pages import (
    HOSTILE,
    outside_references,
    unknown_anchors,
    write_partitioned_run,
    write_samples,
)


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run")


def test_nothing_comes_from_elsewhere_and_nothing_may(run):
    page = run_page(run)
    assert outside_references(page) == []
    assert "Content-Security-Policy" in page
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert unknown_anchors(page) == []
    assert page == run_page(run)


def test_the_page_says_what_the_report_says(run):
    page = run_page(run)
    for words in (
        "75.0 % (65.0 to 85.0, n=200)",
        "+40.0 (+35.0 to +45.0), p 0.02",
        "Krippendorff's alpha",
        "gpt|4",
        "a note of classify",
        "frozen elements that moved",
    ):
        assert words.replace("'", "&#39;") in page or words in page


def test_a_run_without_files_still_has_a_page_that_says_so(run):
    page = run_page(run)
    assert page.count("Not shown: ") >= 2
    assert "<figure><svg xmlns" in page  # Accuracies come from the manifest alone.


def test_curves_of_one_stage_are_shown_where_those_of_the_other_are_gone(run):
    for stage in (Stage.TRAIN_SFT, Stage.TRAIN_RL):
        lines = '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n'
        (run.folder(stage) / "metrics.jsonl").write_text(lines)
    page = run_page(run)
    assert "train-rl: loss, by step" in page
    assert "train-sft: loss, by step" in page
    missing = run.folder(Stage.TRAIN_SFT) / "metrics.jsonl"
    missing.unlink()
    page = run_page(run)
    assert "train-rl: loss, by step" in page
    assert "train-sft: loss, by step" not in page
    assert re.search(rf"Not shown: [^<]*(<code>)?{missing}", page)


def test_a_search_for_the_learning_rate_is_drawn_with_the_trainings(tmp_path):
    page = run_page(write_run(tmp_path / "run", search=RATE_SEARCH))
    alt = (
        "train-sft: held-out loss by learning rate, 0.001 to 0.009, after 20 steps each; used 0.003"
    )
    training = page[page.index('<section id="training">') :]
    training = training[: training.index("</section>")]
    assert f'role="img" aria-label="{alt}"' in training
    assert f"<figcaption>{alt}</figcaption>" in training
    assert ">diverged</td>" in training
    assert page.count("by learning rate, 0.001") == 2


def test_nothing_is_drawn_of_a_search_that_was_not_made(run):
    assert "by learning rate" not in run_page(run)


def test_partition_and_answers_are_drawn_from_the_files(tmp_path):
    root = write_partitioned_run(tmp_path / "run")
    write_samples(root.folder("eval/test"))
    page = run_page(root)
    for caption in ("Share of active elements by layer", "Importance of elements for System 1"):
        assert f"<figcaption>{caption}" in page
    assert "base wrong, sft right: 2 items" in page
    assert "base right, sft right: 1 item<" in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    referenced = set(re.findall(r'(?:url\(|xlink:href=")#([^")]+)', page))
    assert referenced <= set(ids)
    assert len(page.encode()) < 3_000_000


@pytest.mark.parametrize("payload", HOSTILE)
def test_markup_in_samples_names_and_notes_stays_text(tmp_path, payload):
    root = write_partitioned_run(tmp_path / "run", note=payload)
    write_samples(root.folder("eval/test"), model=payload, text=payload)
    page = run_page(root)
    assert outside_references(page) == []
    assert "<script" not in page
    assert not re.search(r"<(img|iframe|object|embed|link|base|form)\b", page)
    assert not re.search(r"<[^>]+\son\w+=", page)


@pytest.mark.parametrize(
    "text", ["[a](http://example.org)", "![a](http://example.org/x.png)", "<http://example.org>"]
)
def test_links_and_pictures_in_markdown_stay_text(text):
    assert not re.search(r"(src|href)=", to_html(text))
    assert "example.org" in to_html(text)


def test_a_stale_partition_has_no_scatter_and_says_why(tmp_path):
    root = write_partitioned_run(tmp_path / "run")
    path = root.folder(Stage.SCORE) / "importance.safetensors"
    path.write_bytes(path.read_bytes() + b" ")
    page = run_page(root)
    assert "Scatter and curve are not shown: importance changed since the cut." in page
    assert "Share of active elements" in page
    assert "is stale: importance changed" in page


def test_several_runs_are_compared(run, tmp_path):
    other = write_run(tmp_path / "other $x^2")
    page = comparison_page([run, other])
    assert outside_references(page) == []
    assert "other $x^2: rl, System 1" in page.replace("&#36;", "$")
    empty = RunDir(tmp_path / "empty")
    with pytest.raises(LoraparError, match="no stage has finished"):
        comparison_page([run, empty])


def test_long_texts_are_cut_and_say_so():
    assert shorten("a" * 1_500) == "a" * 1_500
    assert shorten("a" * 3_501).endswith("a … (2,001 more characters)")
    assert shorten([{"role": "user", "content": "hi"}]) == "user: hi"
    assert shorten(None) == ""


def test_patterns_count_every_item(tmp_path):
    root = write_partitioned_run(tmp_path / "run")
    write_samples(root.folder("eval/test"), items=7)
    patterns = sample_patterns(root.folder("eval/test"))
    assert sum(pattern.count for pattern in patterns) == 7
    assert all(len(pattern.examples) <= 3 for pattern in patterns)
    lines = (root.folder("eval/test") / "samples.jsonl").read_text().splitlines()
    right = [json.loads(line)["correct"] for line in lines if json.loads(line)["model"] == "base"]
    assert sum(p.count for p in patterns if "base right" in p.words) == sum(right)


def test_anchors_of_evaluations_in_any_script_differ():
    names = ["测试", "数据", "a.b", "a-b", "a b", "...", "---", "a-b-2"]
    anchors = name_anchors(f"accuracy/{name}" for name in names)
    assert len(set(anchors.values())) == len(names)
    assert anchors["accuracy/测试"] == "accuracy-测试"
    assert anchors["accuracy/a.b"] == "accuracy-a-b"
    assert all(re.fullmatch(r"[\w-]+", anchor) for anchor in anchors.values())


def test_a_page_is_written_whole(tmp_path):
    write_page("<p>\x1b[2J</p>", tmp_path / "deep" / "page.html")
    assert (tmp_path / "deep" / "page.html").read_text() == "<p>\\x1b[2J</p>"


def test_a_training_that_was_stopped_has_the_steps_that_it_logged(tmp_path):
    run = write_partitioned_run(tmp_path / "run")
    folder = run.folder("train-sft")
    folder.mkdir()
    lines = [{"step": step, "loss": 2.0 / step} for step in (1, 2)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)
    page = run_page(run)
    assert "train-sft, unfinished: loss, by step" in page
    assert "<code>train-sft</code> is unfinished: it has logged step 2." in page
    assert "logged to step 2" in page
    (folder / "metrics.jsonl").write_text(text + '{"step": 3, "lo')
    page = run_page(run)
    assert "it has logged step 2." in page
    assert "Not shown: " in page


def test_the_comparison_of_a_run_is_part_of_its_page(run):
    folder = run.root / "compare"
    folder.mkdir()
    (folder / "compare.md").write_text("# Comparison\n\nIt does.\n\n## `train-sft`\n\n<b>x</b>\n")
    page = run_page(run)
    assert "Does the mask pay?</h2>" in page
    assert "<h3><code>train-sft</code></h3>" in page
    assert "&lt;b&gt;x" in page
    assert "# Comparison" not in page


def test_a_folder_of_results_is_no_run_and_says_so(tmp_path):
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(LoraparError) as raised:
        run_page(RunDir(tmp_path))
    assert "`sweep.md`" in raised.value.hint

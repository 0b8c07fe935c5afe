"""`report`: one run, or several, as an HTML page that needs nothing but itself.

No script, no font and no picture comes from elsewhere, and the page's own policy forbids any. Text of
models and records is shown as text, whatever markup it contains.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import count
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from lorapar_cli import __version__
from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.plots.partition_plots import draw_curve, draw_layers, draw_scatter
from lorapar_cli.plots.rate_curve import rate_figure
from lorapar_cli.plots.training_curves import logged_panels, panel_figure
from lorapar_cli.plurals import counted
from lorapar_cli.stage_records.evaluation import EvalRecord
from lorapar_cli.stage_records.training import TrainingRecord
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.importance_file import ImportanceFile
from lorapar_cli.store.mask_file import read_mask
from lorapar_cli.store.records import read_jsonl
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.store.verify import check_written
from lorapar_cli.text_safety import make_inert
from lorapar_cli.tools.compare_runs import compare_runs, evaluated_models
from lorapar_cli.tools.markdown import shown
from lorapar_cli.tools.next_step import next_step
from lorapar_cli.tools.page.examples import (
    Disagreement,
    Pattern,
    disagreements,
    sample_patterns,
)
from lorapar_cli.tools.page.figures import NARROW, Picture, accuracy_figure, draw
from lorapar_cli.tools.rate_search import search_alt
from lorapar_cli.tools.report import report_sections
from lorapar_cli.tools.run_results import (
    TRAINING,
    RunResults,
    read_run,
    selection_in_words,
    unfinished_trainings,
)
from lorapar_cli.tools.run_status import run_status

_POWER = re.compile(r"\b\d+(?:\.\d+)?e-\d+\b(?![^<]*>)")


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        anchor: The end of its address.
        body: Its text, as HTML.
        remarks: What could not be drawn, and why.
    """

    anchor: str
    title: str
    body: Markup
    pictures: list[Picture] = field(default_factory=list)
    patterns: list[Pattern] = field(default_factory=list)
    disagreements: list[Disagreement] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def write_page(text: str, path: Path) -> None:
    """Writes a page whole or not at all."""
    with atomic_file(path) as file:
        file.write(make_inert(text))


def run_page(run_dir: RunDir) -> str:
    """Returns the page about one run.

    Raises:
        LoraparError: No stage has finished, or a manifest cannot be read.
    """
    run = read_run(run_dir)
    texts = report_sections(run)
    status = run_status(run_dir)
    shown = {key: text for key, text in texts.items() if text and "## " in text[:3]}
    anchors = name_anchors(shown)
    sections = [_with_pictures(run, key, text, anchors[key]) for key, text in shown.items()]
    return _render(
        title=f"lorapar: {run_dir.root}",
        heading=str(run_dir.root),
        warnings=to_html(texts["state"]),
        lead=to_html(texts["model"]),
        status=status,
        step=next_step(run_dir, status),
        sections=sections,
    )


def comparison_page(run_dirs: list[RunDir]) -> str:
    """Returns the page that compares the evaluated models of several runs.

    Raises:
        LoraparError: No run has a finished evaluation.
    """
    table = compare_runs(run_dirs)
    by_evaluation = evaluated_models(run_dirs)
    pictures = [
        draw(partial(accuracy_figure, rows), f"Accuracy in evaluation {name}, by run and model")
        for name, rows in by_evaluation.items()
    ]
    section = Section("runs", "Evaluated models", to_html(table), pictures)
    return _render(
        title=f"lorapar: {counted(len(run_dirs), 'run')}",
        heading=counted(len(run_dirs), "run"),
        warnings=Markup(),
        lead=Markup(),
        status=[],
        step=None,
        sections=[section],
    )


def _render(**values: object) -> str:
    return _environment().get_template("page.html.jinja").render(version=__version__, **values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("lorapar_cli.tools.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def to_html(text: str) -> Markup:
    """Returns Markdown as HTML; markup, links and pictures in it stay text."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.disable(["image", "link", "autolink", "reference", "html_block", "html_inline"])
    # A line does not end inside `9.1e-13`.
    html = _POWER.sub(r'<span class="whole">\g<0></span>', parser.render(text))
    html = html.replace("<table>", '<div class="wide" tabindex="0"><table>').replace(
        "</table>", "</table></div>"
    )
    return Markup(html)


def name_anchors(keys: Iterable[str]) -> dict[str, str]:
    """Returns the anchor of each section; names in any script, and no two the same."""
    anchors: dict[str, str] = {}
    for key in keys:
        name = re.sub(r"\W+", "-", key.lower()).strip("-")
        free = (f"{name}-{number}" for number in count(2))
        while name in anchors.values():
            name = next(free)
        anchors[key] = name
    return anchors


def _with_pictures(run: RunResults, key: str, text: str, anchor: str) -> Section:
    """Returns a section of the report with its pictures and examples."""
    heading, _, rest = text.partition("\n")
    section = Section(anchor, shown(heading.removeprefix("## ")), to_html(rest))
    kind, _, name = key.partition("/")
    add: dict[str, Callable[[RunResults, Section, str], None]] = {
        "accuracy": _add_evaluation,
        "labels": _add_disagreements,
        "partition": _add_partition,
        "training": _add_curves,
    }
    if kind in add:
        # A damaged file takes one picture away, not the page.
        try:
            add[kind](run, section, name)
        except LoraparError as error:
            section.remarks.append(f"Not shown: {error.what}")
    return section


def _add_evaluation(run: RunResults, section: Section, name: str) -> None:
    manifest = run.evaluations[name]
    metrics = manifest.record(EvalRecord).metrics
    if "harness" not in metrics:
        rows = [(row["model"], row) for row in metrics["models"]]
        alt = f"Accuracy of each model in evaluation {name}, with 95 % intervals"
        section.pictures.append(draw(partial(accuracy_figure, rows), alt))
    section.patterns.extend(sample_patterns(run.directory.folder(f"{Stage.EVAL}/{name}")))


def _add_disagreements(run: RunResults, section: Section, _: str) -> None:
    section.disagreements.extend(disagreements(run.directory))


def _add_partition(run: RunResults, section: Section, name: str) -> None:
    directory = run.directory
    mask, _ = read_mask(directory.folder(Stage.PARTITION) / Artifact.MASK)
    section.pictures.append(
        draw(
            partial(draw_layers, mask, NARROW),
            "Share of active elements by layer and module, in SFT and in RL",
        )
    )
    if changes := directory.changed_inputs(Stage.PARTITION):
        section.remarks.append(
            f"Scatter and curve are not shown: {', '.join(changes)} changed since the cut."
        )
        return
    title = selection_in_words(run.stages[Stage.PARTITION]).partition(", alpha")[0]
    source = ImportanceFile(_importance(run))
    section.pictures.append(
        draw(
            partial(draw_scatter, source, mask, title, NARROW),
            "Importance of elements for System 1 against System 2, coloured by region",
        )
    )
    section.pictures.append(
        draw(
            partial(draw_curve, source, mask, NARROW),
            "Cumulative importance over the share of elements, with each system's cut",
        )
    )


def _importance(run: RunResults) -> Path:
    """Returns the file that the partition was made from."""
    path = Path(run.stages[Stage.PARTITION].inputs["importance"]["path"])
    return path if path.is_absolute() else run.directory.root / path


def _add_curves(run: RunResults, section: Section, _: str) -> None:
    unfinished = unfinished_trainings(run)
    for stage in TRAINING:
        if stage not in run.stages and stage not in unfinished:
            continue
        finished = run.stages.get(stage)
        search = finished and finished.record(TrainingRecord).metrics.get("rate_search")
        if search:
            # All of it is in the manifest: the file of the curve need not be there.
            alt = search_alt(stage, search)
            section.pictures.append(
                draw(partial(rate_figure, search["curve"], search), alt, small=True)
            )
        path = run.directory.folder(stage) / Artifact.METRICS
        try:
            check_written(path)
            lines = [line for _, line in read_jsonl(path)]
        except LoraparError as error:
            # The other stage's curves are worth as much.
            section.remarks.append(f"Not shown: {error.what}")
            continue
        name = stage if finished else f"{stage}, unfinished"
        section.pictures.extend(
            draw(partial(panel_figure, lines, key), f"{name}: {title}, by step", small=True)
            for key, title in logged_panels(lines).items()
        )

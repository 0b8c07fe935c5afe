"""`report`: the results of one run and how they were made, as a Markdown page from manifests."""

import os
import re
from pathlib import Path
from urllib.parse import quote

from lorapar_cli.evaluation.settings import accuracy_of
from lorapar_cli.names import Artifact, Region, Stage, System
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.stage_records.classify import ClassifyRecord
from lorapar_cli.stage_records.evaluation import Accuracy, Difference, EvalRecord, ModelRow
from lorapar_cli.stage_records.partition import PartitionRecord
from lorapar_cli.stage_records.score import ScoreRecord
from lorapar_cli.store.disk.compared_inputs import changed_since
from lorapar_cli.store.disk.regular_files import exists, open_regular, read_json
from lorapar_cli.store.manifest import Manifest
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.tools.forgetting import UNITS, model_columns
from lorapar_cli.tools.markdown import (
    accuracy_cell,
    harness_table,
    list_notes,
    literal,
    pass_cell,
    section,
    table,
    title_of,
)
from lorapar_cli.tools.provenance import files_section, provenance_section
from lorapar_cli.tools.run_results import (
    TRAINING,
    RunResults,
    read_run,
    selection_in_words,
)
from lorapar_cli.tools.training_section import training_section

_COMPARED = "compare/compare.md"

_PICTURES = (
    "partition/plots/*.png",
    *(f"{stage}{curve}.png" for stage in TRAINING for curve in ("", "-learning-rates")),
)


def report(run_dir: RunDir, page_folder: Path) -> str:
    """Returns a run directory's results and how they were made, as Markdown.

    Args:
        page_folder: The folder that will contain the page, for its links to pictures.

    Raises:
        LoraparError: No stage has finished, or a manifest cannot be read.
    """
    run = read_run(run_dir)
    first, *rest = report_sections(run).values()
    pictures = _pictures(run_dir.root, page_folder)
    parts = [f"# {literal(str(run_dir.root))}", first, *rest[:-2], pictures, *rest[-2:]]
    return "\n\n".join(part for part in parts if part) + "\n"


def report_sections(run: RunResults) -> dict[str, str]:
    """Returns the sections of a report as Markdown, in order; empty ones where there is nothing.

    All but the first two, `state` and `model`, begin with a heading. The accuracy of each
    evaluation is under `accuracy/<name>`.
    """
    return {
        "state": _stale(run),
        "model": _base_model(run),
        **{
            f"accuracy/{name}": _accuracy(name, manifest)
            for name, manifest in run.evaluations.items()
        },
        "labels": _labels(run.stages.get(Stage.CLASSIFY)),
        "importance": _importance(run.stages.get(Stage.SCORE)),
        "partition": _regions(run.stages.get(Stage.PARTITION)),
        "training": training_section(run),
        "comparison": _comparison(run.directory),
        "provenance": provenance_section(run),
        "files": files_section(run),
    }


def _stale(run: RunResults) -> str:
    """Returns a warning for each stage whose files, or those it was made from, have changed."""
    names = [*(stage.value for stage in run.stages), *(f"eval/{name}" for name in run.evaluations)]
    lines = []
    for name in names:
        if changes := run.directory.changed_inputs(name):
            inputs = ", ".join(f"{each} {how}" for each, how in changes.items())
            lines.append(f"**`{name}` is stale: {inputs} since it was made.**\n")
        if damage := run.directory.damage(name):
            files = ", ".join(f"`{each.name}` {each.found}" for each in damage)
            lines.append(f"**`{name}` is damaged: {files}.**\n")
    return "\n".join(lines).rstrip()


def _base_model(run: RunResults) -> str:
    for manifest in (*run.stages.values(), *run.evaluations.values()):
        if manifest.base_model is not None:
            revision = manifest.base_model["revision"]
            return f"Base model: `{manifest.base_model['id']}`" + (
                f", revision `{revision}`" if revision else ""
            )
    return ""


def _accuracy(name: str, manifest: Manifest) -> str:
    record = manifest.record(EvalRecord)
    models, pairs = record.metrics["models"], record.metrics["pairs"]
    if (harness := record.metrics.get("harness")) is not None:
        return section(
            f"lm-evaluation-harness: {name}", harness_table(harness), list_notes(manifest)
        )
    parts = list(_groups(models[0]))
    rows = [
        [
            literal(row["model"]),
            accuracy_cell(row),
            *(accuracy_cell(_groups(row)[part]) for part in parts),
        ]
        for row in models
    ]
    differences = ""
    if pairs:
        systems = list(pairs[0].get("by_system", {}))
        differences = "Paired differences in points, 95 % intervals, exact McNemar p:\n\n" + table(
            ["models", "all", *map(title_of, systems)],
            [
                [
                    f"{pair['model']} - {pair['against']}",
                    _difference(pair),
                    *(_difference(pair["by_system"][system]) for system in systems),
                ]
                for pair in pairs
            ],
        )
    task = manifest.settings["task"]
    title = f"Accuracy: {literal(name)}" + ("" if task in ("data", name) else f" ({task})")
    intro = (
        f"{counted(record.counts['items'], 'record')}, 95 % intervals. Accuracy is that of one completion per "
        f"record: {accuracy_of(manifest.settings)}."
    )
    heads = ["model", "all", *map(title_of, parts)]
    return section(
        title,
        intro,
        table(heads, rows),
        _several_draws(models),
        differences,
        _forgetting(models),
        list_notes(manifest),
    )


def _forgetting(models: list[ModelRow]) -> str:
    """Returns what each model has forgotten, empty where nothing was measured."""
    found = {row["model"]: row["forgetting"] for row in models if "forgetting" in row}
    if not found:
        return ""
    heads, cells = model_columns(found)
    lines = [[literal(name), *row] for name, row in cells.items()]
    return f"Forgetting; {UNITS}:\n\n" + table(["model", *heads], lines)


def _several_draws(models: list[ModelRow]) -> str:
    """Returns pass@k and maj@k, empty where items have one completion."""
    passes = models[0].get("pass_at_k", {})
    if not passes:
        return ""
    votes = models[0].get("maj_at_k", {})
    heads = [
        *(
            f"pass@{k} ({'mean of' if k == '1' else 'from'} {counted(p['draws'], 'draw')})"
            for k, p in passes.items()
        ),
        *(f"maj@{k} (vote of {k} draw{'' if k == '1' else 's'})" for k in votes),
    ]
    rows = [
        [
            literal(row["model"]),
            *(pass_cell(row["pass_at_k"][k]) for k in passes),
            *(accuracy_cell(row["maj_at_k"][k]) for k in votes),
        ]
        for row in models
    ]
    return table(["model", *heads], rows)


def _groups(row: ModelRow) -> dict[str, Accuracy]:
    """Returns a model's accuracy by system and by group of subjects, where they are known."""
    return row.get("by_system", {}) | row.get("by_group", {})


def _difference(part: Difference) -> str:
    low, high = part["interval"]
    return (
        f"{100 * part['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}), "
        f"p {part['p_value']:.2g}"
    )


def _labels(manifest: Manifest | None) -> str:
    if manifest is None:
        return ""
    record = manifest.record(ClassifyRecord)
    counts, metrics = record.counts, record.metrics
    numbers = {
        "records": counts["records"],
        "System 1": counts["system1"],
        "System 2": counts["system2"],
        "held out": counts["heldout"],
        "contested": counts["contested"],
        "undecided": counts["undecided"],
        "dropped": counts["dropped"],
    }
    rows = [[name, f"{number:,}"] for name, number in numbers.items()]
    if metrics["krippendorff_alpha"] is not None:
        rows.append(["Krippendorff's alpha", f"{metrics['krippendorff_alpha']:.3f}"])
    truth = metrics.get("accuracy")
    heads = ["teacher", "System 1", "System 2", "no vote", "requests", "dollars"]
    voters = [
        [
            literal(name),
            f"{found['system1']:,}",
            f"{found['system2']:,}",
            f"{found['no_vote']:,}",
            f"{found['requests']:,}",
            "unknown" if found["cost"] is None else f"{found['cost']:.4f}",
            *([f"{100 * truth[name]:.1f} %"] if truth else []),
        ]
        for name, found in counts["teachers"].items()
    ]
    if truth:
        rows.append(
            ["accuracy of the vote, where labels are known", f"{100 * truth['vote']:.1f} %"]
        )
        heads.append("accuracy, where known")
    return section(
        "Labels",
        table(["", ""], rows),
        table(heads, voters) if voters else "",
        list_notes(manifest),
    )


def _importance(manifest: Manifest | None) -> str:
    if manifest is None:
        return ""
    settings, counts = manifest.settings, manifest.record(ScoreRecord).counts
    samples = ", ".join(f"{counts['samples'][system]:,} {title_of(system)}" for system in System)
    rule = settings["rule"]
    sentence = (
        f"`{settings['formula'] if rule == 'importance' else rule}` of "
        f"{counted(counts['elements'], 'element')} in "
        f"{counted(counts['matrices'], 'matrix', 'matrices')}, init `{settings['init']}`, "
        f"r {settings['r']}, lora_alpha {settings['lora_alpha']}; samples: {samples}."
    )
    return section("Importance", sentence, list_notes(manifest))


def _regions(manifest: Manifest | None) -> str:
    if manifest is None:
        return ""
    record = manifest.record(PartitionRecord)
    counts = record.counts
    sizes = {region.value: counts["regions"][region] for region in Region}
    sizes |= {"active in SFT": counts["active_sft"], "active in RL": counts["active_rl"]}
    rows = [[name, f"{n:,}", f"{100 * n / counts['elements']:.1f} %"] for name, n in sizes.items()]
    sentence = (
        f"{selection_in_words(manifest)}; Jaccard index of the two top sets "
        f"{record.metrics['jaccard']:.3f}."
    )
    return section(
        "Partition", sentence, table(["", "elements", "share"], rows), list_notes(manifest)
    )


def _comparison(run: RunDir) -> str:
    """Returns what `lorapar compare` has written of a run, below a heading of this page."""
    path = run.root / _COMPARED
    if not exists(path):
        return ""
    with open_regular(path, "r") as file:
        _, _, text = file.read().partition("\n")
    origin = f"As `lorapar compare` last wrote it, in `{_COMPARED}`."
    if stages := _changed_since_comparison(run):
        origin += f" Since then, {stages} changed: `lorapar compare` goes on from the present ones."
    return section("Does the mask pay?", origin, re.sub(r"(?m)^## ", "### ", text.strip()))


def _changed_since_comparison(run: RunDir) -> str:
    """Returns the stages that were made anew since, as in a sentence; empty where there are none."""
    path = (run.root / _COMPARED).parent / Artifact.RESULTS
    content = read_json(path) if exists(path) else {}
    inputs = content.get("inputs") if isinstance(content, dict) else None
    changed = changed_since(run, inputs) if isinstance(inputs, dict) else []
    names = [f"`{stage}`" for stage in changed]
    return f"{' and '.join(names)} {inflected(len(names), 'has', 'have')}" if names else ""


def _pictures(root: Path, page_folder: Path) -> str:
    """Returns links to the pictures that `plot` and `partition --plot` have drawn."""
    found = [path for pattern in _PICTURES for path in sorted(root.glob(pattern))]
    links = [
        # An address has no space.
        f"![{path.stem}]({quote(Path(os.path.relpath(path, page_folder)).as_posix())})"
        for path in found
    ]
    return section("Pictures", *links) if links else ""

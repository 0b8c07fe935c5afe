"""Runs whose pages tests look at, and what they look for."""

import re

from lorapar_cli.names import Stage
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import partition
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.run_dir import RunDir
from tests.evaluation.review.finished import sample, write_evaluation
from tests.partition.importance_files import SHAPES, draw_importance, write_importance
from tests.tools.finished_runs import SCORE_COUNTS, SCORE_METRICS, SCORE_SETTINGS

HOSTILE = [
    "<script>fetch('http://example.org')</script>",
    "<img src=http://example.org/x.png onerror=alert(1)>",
    "![x](http://example.org/x.png) [y](javascript:alert(1))",
    '"><svg onload=alert(1)><a href="http://example.org">',
    "{{ 7 * 7 }} {% include '/etc/passwd' %}",
    "</style></details></main><base href=http://example.org>",
    "`</code><iframe src=http://example.org>`",
    "$\\frac{1}{0$ $$",
]


def outside_references(page: str) -> list[str]:
    """Returns what a browser would fetch from elsewhere; names of XML namespaces are none."""
    found = re.findall(r'<[^>]*\s(?:src|href|xlink:href|action|data)\s*=\s*"([^"]*)"', page)
    found += re.findall(r"url\(([^)]*)\)", page) + re.findall(r"@import[^;]*", page)
    return [each for each in found if not each.strip("'\"").startswith(("#", "data:image/png;"))]


def unknown_anchors(page: str) -> list[str]:
    """Returns the places in the page that its links name and that are not there."""
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    return [each for each in re.findall(r'<a href="#([^"]+)"', page) if each not in ids]


def write_partitioned_run(root, note: str = "a note", shapes=SHAPES) -> RunDir:
    """Returns a run directory with a scored and partitioned adapter."""
    run = RunDir(root)
    folder = run.folder(Stage.SCORE)
    folder.mkdir(parents=True)
    write_importance(folder / "importance.safetensors", draw_importance(shapes))
    scored = Manifest(
        *(Stage.SCORE, SCORE_SETTINGS), counts=SCORE_COUNTS, metrics=SCORE_METRICS, notes=[note]
    )
    write_manifest(folder, scored)
    partition(run, PartitionOptions(theta=0.7))
    return run


def write_samples(folder, *, model: str = "base", text: str = "a text", items: int = 3) -> None:
    """Writes an evaluation of two models, the first right on every third item, the second always."""
    samples = [
        sample(f"{n} {text}", right(n), name, prompt=text, completion=text, reference=text)
        for name, right in ((model, lambda n: n % 3 == 0), ("sft", lambda n: True))
        for n in range(items)
    ]
    write_evaluation(folder, samples)

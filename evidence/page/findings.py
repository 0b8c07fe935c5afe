"""What the results say, in sentences that are computed from them; negative ones are marked."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from evidence.curve_published import PUBLISHED
from evidence.page.by_budget import by_budget, compared
from evidence.page.claims import of_claims
from evidence.page.corrected import corrected
from evidence.page.finding import Finding, in_words
from evidence.page.findings_real import of_controls, of_noise, of_real_training
from evidence.page.results_files import Results, Row, is_better
from lorapar_cli.tools.markdown import title_of

YARDSTICKS = ("paper", "random", "full")
EVERYTHING = "everything"
_SYSTEMS = ("system1", "system2")
_SPLITS = {
    "truth": "Split by the corpus' own labels",
    "rules": "Split by three rules' vote",
    "student": "Split by three rules and the student",
    "random": "Split at random",
}
# Points of per cent by which two curves may differ and still be called alike.
_ALIKE = 5.0


def find_all(results: Mapping[str, Results]) -> list[Finding]:
    """Returns the findings of all studies, negative ones first."""
    found = [
        *_of_masks(results["embedded-sft"], "loss", "system1", "SFT"),
        *_of_masks(results["embedded-rl"], "accuracy", "system2", "RL"),
        *_of_recipes(results["recipes"]),
        *_of_replay(results["replay"]),
        *of_claims(results["tables"]),
        *_of_faults(results["authors"]),
        *_of_curve(results["curve"]),
        *of_noise(results["real-noise"]).values(),
        *of_controls(results["real-noise"]),
        *of_real_training(results["real-training"]),
    ]
    return sorted(found, key=lambda finding: not finding.negative)


def in_short(results: Mapping[str, Results]) -> str | None:
    """Returns how often the paper's mask beats a random one, None where nothing is measured."""
    found = [
        verdict["finding"]
        for name in ("embedded-sft", "embedded-rl", "recipes", "real-training")
        for unit in results[name].units.values()
        for verdict in unit.get("verdicts", [])
        if verdict["finding"] != "not compared"
    ]
    if not found:
        return None
    better, worse, same = (found.count(each) for each in ("earned", "worse", "not shown"))
    return (
        "In short: on the system that a stage trains on, the paper's mask was compared with a random "
        f"mask of the same size in {len(found)} setting{'s' * (len(found) != 1)}. It is better in "
        f"{better} and worse in {worse}; in {same} the two cannot be told apart."
    )


def strong_recipe(results: Mapping[str, Results]) -> str | None:
    """Returns the recipe that is significantly better than all yardsticks on both systems.

    Of several, the one with the largest sum of both systems' accuracies. None where there is none,
    or the study is not complete.
    """
    study = results["recipes"]
    if not study.complete:
        return None
    (found,) = study.units.values()
    good = [
        name
        for name in found["recipes"]
        if all(
            _verdict(found["differences"], name, against, system) is True
            for against in YARDSTICKS
            for system in _SYSTEMS
        )
    ]
    accuracy = {
        row["cell"]: sum(row["accuracy"].values())
        for row in found["cells"]
        if row["stage"] == "train-rl" and "accuracy" in row
    }
    return max(good, key=lambda name: accuracy[name], default=None)


def _verdict(rows: Sequence[Row], cell: str, against: str, system: str) -> bool | None:
    wanted = {"cell": cell, "against": against, "system": system, "measure": "accuracy"}
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return is_better(found[0]) if found else None


def _of_masks(study: Results, measure: str, system: str, stage: str) -> Iterator[Finding]:
    """Yields how each rule stands against a random mask, and more elements against the paper's."""
    rows = [row for _, row in study.differences() if row["against"] == "random"]
    own = [name for name in dict.fromkeys(row["cell"] for row in rows) if name not in _UNMASKED]
    named = {name: f"`{name}`" for name in own} | {"paper": "the paper's rule"}
    pairs = [(name, named[name], "random", "a random mask of the same size") for name in own]
    pairs += [(name, what, "paper", "the paper's mask") for name, what in _UNMASKED.items()]
    for cell, subject, against, rival in pairs:
        found = by_budget(study, cell, against, measure, system)
        if found is not None:
            masked = cell not in _UNMASKED
            speaks_against = bool(found.worse) or not found.better if masked else bool(found.better)
            where = f"{stage}, embedded model, {measure} on {title_of(system)}"
            yield Finding(f"{where}: {compared(subject, rival, found)}.", speaks_against)


_UNMASKED = {
    "full": "full LoRA",
    "rank": "plain LoRA of the nearest size (rank 1 or more)",
}


def _of_recipes(study: Results) -> Iterator[Finding]:
    if not study.complete:
        return
    yield from _against_yardsticks(study)
    yield of_strong_recipe(study, "embedded model")


def of_strong_recipe(study: Results, model: str) -> Finding:
    """Returns which recipe of a complete study is strong, or that none is.

    Args:
        model: What the reader knows the embedded model as.
    """
    name = strong_recipe({"recipes": study})
    rivals = "the paper's recipe, a random mask and full LoRA"
    if name is not None:
        return Finding(
            f"SFT and RL, {model} (accuracy): our recipe `{name}` (`sample_configs/strong.yaml`) is "
            f"significantly better on both systems than {rivals}.",
            False,
        )
    (found,) = study.units.values()
    return Finding(
        f"SFT and RL, {model} (accuracy): of {len(found['recipes'])} recipes of ours, none is "
        f"significantly better on both systems than each of {rivals}.",
        True,
    )


def _against_yardsticks(study: Results) -> Iterator[Finding]:
    """Yields which recipes differ significantly from full LoRA and the paper's, after both stages."""
    (found,) = study.units.values()
    for against, measure in product(("paper", "full"), ("accuracy", "loss")):
        cells: dict[tuple[bool, str], list[str]] = {}
        for row in found["differences"]:
            verdict = is_better(row)
            if (row["against"], row["measure"]) == (against, measure) and verdict is not None:
                place = (verdict, title_of(row["system"]))
                cells.setdefault(place, []).append(f"`{row['cell']}`")
        parts = [
            f"{'better' if better else 'worse'} on {system}: {in_words(names)}"
            for (better, system), names in sorted(
                cells.items(), key=lambda one: (not one[0][0], one[0][1])
            )
        ]
        if parts:
            yield Finding(
                f"Recipes on the embedded model, {measure} after both stages against `{against}`: "
                f"{'; '.join(parts)}.",
                not any(better for better, _ in cells),
            )


def _of_replay(study: Results) -> Iterator[Finding]:
    for splitter, found in study.units.items():
        rows = [row for row in found["differences"] if row["measure"] == "accuracy"]
        for system in _SYSTEMS:
            own = {
                row["cell"]: is_better(row)
                for row in rows
                if row["system"] == system and row["against"] == "paper"
            }
            parts = [
                f"{relation} with {in_words(names)}"
                for relation, wanted in (
                    ("higher", True),
                    ("lower", False),
                    ("not to be told apart", None),
                )
                if (names := [f"`{name}`" for name, verdict in own.items() if verdict is wanted])
            ]
            if parts:
                yield Finding(
                    f"{_SPLITS[splitter]}, embedded model, accuracy on {title_of(system)} after both "
                    f"stages, against that without replay: {', '.join(parts)}.",
                    False in own.values(),
                )
        for verdict, relation in ((False, "better"), (True, "worse")):
            cells = [
                f"`{row['cell']}` on {title_of(row['system'])}"
                for row in rows
                if row["against"] == EVERYTHING and is_better(row) is verdict
            ]
            if cells:
                yield Finding(
                    f"{_SPLITS[splitter]}, embedded model: SFT of every element on all records, as "
                    f"many of them, is {relation} in accuracy than {in_words(cells)}.",
                    not verdict,
                )


def _of_faults(study: Results) -> Iterator[Finding]:
    rows = corrected(list(study.differences()))
    for fault in study.units:
        own = [row for _, row in rows if row["cell"] == fault]
        surely = [row for row in own if is_better(row) is not None]
        seeds = len(study.content["seeds"])
        if surely:
            text = f"changes {in_words([_of_change(row) for row in surely])}"
        else:
            text = (
                f"cannot be told apart from the same training without it with {seeds} seeds; "
                f"{_of_intervals(own)}"
            )
        yield Finding(f"Published script, embedded model: `{fault}` {text}.", False)


def _of_intervals(rows: Sequence[Row]) -> str:
    """Returns which intervals exclude 0 before correction, or how large a change they allow for."""
    clear = [
        f"{_of_change(row)} ({row['low']:+.3f} to {row['high']:+.3f})"
        for row in rows
        if row["low"] > 0 or row["high"] < 0
    ]
    if clear:
        return (
            "yet it may well change much: before the correction for the number of comparisons, "
            f"{len(clear)} of {len(rows)} intervals exclude 0, {in_words(clear)}"
        )
    bounds = {
        measure: max(max(-row["low"], row["high"]) for row in rows if row["measure"] == measure)
        for measure in dict.fromkeys(row["measure"] for row in rows)
    }
    allowed = in_words([f"{measure} by up to {bound:.3f}" for measure, bound in bounds.items()])
    return f"its intervals allow for a change of {allowed}"


def _of_change(row: Row) -> str:
    stage = "SFT" if row["stage"] == "train-sft" else "RL"
    return (
        f"{row['measure']} on {title_of(row['system'])} after {stage} by {row['difference']:+.3f}"
    )


def _of_curve(study: Results) -> Iterator[Finding]:
    for found in study.units.values():
        rows = {row["gradients"]: row["shares"] for row in found["rows"]}
        real = [(a + b) / 2 for a, b in zip(rows["system1"], rows["system2"], strict=True)]
        drawn = rows["random, sizes by matrix"]
        gap = _largest_gap(real, drawn)
        alike = gap <= _ALIKE
        tail = (
            ", so that such a curve is no sign that importance has found anything" if alike else ""
        )
        yield Finding(
            f"Embedded model: at theta 0.9 its gradients select {real[-1]:.1f} % of the elements, "
            f"random numbers {rows['random, one size'][-1]:.1f} %, random numbers with each matrix's "
            f"own size {drawn[-1]:.1f} %, the paper reports {PUBLISHED[-1]:.1f} %. Over all theta the "
            f"gradients' shares are within {gap:.1f} points of those random numbers' and within "
            f"{_largest_gap(real, PUBLISHED):.1f} of the paper's{tail}.",
            alike,
        )


def _largest_gap(first: Sequence[float], second: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(first, second, strict=True))

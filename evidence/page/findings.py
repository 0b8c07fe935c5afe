"""What the results say, in sentences that are computed from them; negative ones are marked."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from evidence.curve_published import PUBLISHED
from evidence.page.corrected import corrected
from evidence.page.finding import Finding, in_words
from evidence.page.findings_real import of_controls, of_noise, of_real_training
from evidence.page.results_files import Results, Row, is_better

YARDSTICKS = ("paper", "random", "full")
_SYSTEMS = ("system1", "system2")
# Points of per cent by which two curves may differ and still be called alike.
_ALIKE = 5.0


def find_all(results: Mapping[str, Results]) -> list[Finding]:
    """Returns the findings of all studies, negative ones first."""
    found = [
        *_of_masks(results["embedded-sft"], "loss", "system1", "SFT"),
        *_of_masks(results["embedded-rl"], "accuracy", "system2", "RL"),
        *_of_recipes(results["recipes"]),
        *_of_replay(results["replay"]),
        *_of_tables(results["tables"]),
        *_of_faults(results["authors"]),
        *_of_curve(results["curve"]),
        *of_noise(results["real-noise"]),
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
        f"{better}, worse in {worse} and not significantly different in {same}."
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


def _budgets(names: Sequence[str]) -> str:
    return in_words([f"{name} %" for name in names])


def _of_masks(study: Results, measure: str, system: str, stage: str) -> Iterator[Finding]:
    """Yields how each rule stands against a random mask, budget by budget."""
    if not study.units:
        return
    rows = [
        (unit, row)
        for unit, row in study.differences()
        if row["against"] == "random" and (row["measure"], row["system"]) == (measure, system)
    ]
    for cell in dict.fromkeys(row["cell"] for _, row in rows):
        if cell in ("full", "rank"):
            continue
        own = {unit: is_better(row) for unit, row in rows if row["cell"] == cell}
        better = [unit for unit, verdict in own.items() if verdict is True]
        worse = [unit for unit, verdict in own.items() if verdict is False]
        same = [unit for unit, verdict in own.items() if verdict is None]
        name = "the paper's rule" if cell == "paper" else f"`{cell}`"
        parts = [f"is better than a random mask of the same size at {_budgets(better)}"] * bool(
            better
        )
        parts += [f"is worse at {_budgets(worse)}"] * bool(worse)
        parts += [f"does not differ significantly from it at {_budgets(same)}"] * bool(same)
        if not better:
            parts[0] = (
                parts[0]
                .replace("is worse", "is worse than a random mask")
                .replace("from it", "from a random mask")
            )
        partly = ""
        if study.unfinished:
            partly = f" (not measured yet: {_budgets(study.unfinished)})"
        yield Finding(
            f"{stage}, embedded model: {name} {', '.join(parts)} of the elements{partly}.",
            bool(worse) or not better,
            claim=cell == "paper",
        )


def _of_recipes(study: Results) -> Iterator[Finding]:
    if not study.complete:
        return
    yield from _against_yardsticks(study)
    name = strong_recipe({"recipes": study})
    if name is not None:
        yield Finding(
            f"The recipe `{name}` is better than the paper's, a random mask and full LoRA on both "
            "systems of the embedded model, after correction; it is in `sample_configs/strong.yaml`.",
            False,
            claim=True,
        )
        return
    (found,) = study.units.values()
    yield Finding(
        f"None of our {len(found['recipes'])} recipes is significantly better than the paper's, a "
        "random mask and full LoRA on both systems of the embedded model.",
        True,
        claim=True,
    )


def _against_yardsticks(study: Results) -> Iterator[Finding]:
    """Yields which recipes differ significantly from full LoRA and the paper's, after both stages."""
    (found,) = study.units.values()
    for against, measure in product(("paper", "full"), ("accuracy", "loss")):
        cells: dict[tuple[bool, str], list[str]] = {}
        for row in found["differences"]:
            verdict = is_better(row)
            if (row["against"], row["measure"]) == (against, measure) and verdict is not None:
                place = (verdict, row["system"].replace("system", "System "))
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
                claim=measure == "accuracy",
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
            helped = [f"`{name}`" for name, verdict in own.items() if verdict is True]
            hurt = [f"`{name}`" for name, verdict in own.items() if verdict is False]
            title = system.replace("system", "System ")
            if helped or hurt:
                what = [f"raises its accuracy with {in_words(helped)}"] * bool(helped)
                what += [f"lowers it with {in_words(hurt)}"] * bool(hurt)
                text = " and ".join(what)
            else:
                text = "does not change its accuracy significantly"
            yield Finding(
                f"Split by {splitter}, embedded model: replay {text} after both stages ({title}).",
                bool(hurt),
            )
        below = [
            f"`{row['cell']}` on {row['system'].replace('system', 'System ')}"
            for row in rows
            if row["against"] == "everything" and is_better(row) is False
        ]
        if below:
            yield Finding(
                f"Split by {splitter}, embedded model: SFT of every element on all records is better "
                f"after as many records than {in_words(below)}.",
                True,
            )


def same_order(cells: Sequence[Row], figure: str) -> tuple[int, int]:
    """Returns how many pairs of cells differ in the published figure, and how many of these agree.

    A pair agrees where our means differ in the same direction.
    """
    both = [
        (cell["mean"][figure], cell["published"][figure])
        for cell in cells
        if figure in cell["mean"] and figure in cell["published"]
    ]
    pairs = [(a, b) for number, a in enumerate(both) for b in both[:number] if a[1] != b[1]]
    return len(pairs), sum((a[0] - b[0]) * (a[1] - b[1]) > 0 for a, b in pairs)


def _of_tables(study: Results) -> Iterator[Finding]:
    for found in study.units.values():
        parts, worst = [], 1.0
        for figure, head in found["layout"]["figures"].items():
            pairs, agreeing = same_order(found["table"], figure)
            if pairs:
                parts.append(f"{agreeing} of {pairs} pairs of cells by {head}")
                worst = min(worst, agreeing / pairs)
        if parts:
            yield Finding(
                f"{found['title']}, embedded model: the paper's order is met in {in_words(parts)} "
                "(half of them would be by chance).",
                worst <= 0.5,
            )


def _of_faults(study: Results) -> Iterator[Finding]:
    rows = corrected(list(study.differences()))
    for fault in study.units:
        own = [row for _, row in rows if row["cell"] == fault and is_better(row) is not None]
        if not own:
            yield Finding(
                f"Published script, embedded model: `{fault}` changes no figure significantly.",
                False,
            )
            continue
        parts = []
        for row in own:
            stage = "SFT" if row["stage"] == "train-sft" else "RL"
            title = row["system"].replace("system", "System ")
            parts.append(f"{row['measure']} on {title} after {stage} by {row['difference']:+.3f}")
        yield Finding(
            f"Published script, embedded model: `{fault}` changes {in_words(parts)}.", False
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

"""What the studies on the real model say."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from evidence.page.by_budget import interval
from evidence.page.finding import Finding, in_words
from evidence.page.results_files import Results, Row, is_better


def of_noise(study: Results) -> dict[str, Finding]:
    """Returns splitter or control -> whether its partition is above noise."""
    by_splitter: dict[str, dict[int, Row]] = {}
    for found in study.units.values():
        name = found.get("splitter") or found.get("control")
        if name is not None:
            by_splitter.setdefault(name, {})[found["asked"]] = found
    return {name: _of_split(name, found) for name, found in by_splitter.items()}


def _of_split(name: str, found: Mapping[int, Row]) -> Finding:
    return Finding(
        f"Real model, {_SPLITS.get(name, f'control {name!r}')}: the partition is "
        f"{in_words(_trail(found))}.",
        found[max(found)]["verdict"] != "above" and name != "same kind, same form",
    )


def _trail(of_split: Mapping[int, Row]) -> list[str]:
    """Returns verdicts by number of samples, equal ones that follow each other together."""
    return [
        f"{_NOISE[verdict]} with {in_words([samples_of(of_split[n]) for n in numbers])} samples"
        for verdict, numbers in groupby(sorted(of_split), key=lambda n: of_split[n]["verdict"])
    ]


def samples_of(found: Row) -> str:
    """Returns the number of samples of a system, both numbers where the systems' differ."""
    used = dict.fromkeys(found.get("samples_by_system", {}).values())
    return " against ".join(map(str, used)) or str(found["asked"])


def controls_of(study: Results) -> tuple[Row, Row] | None:
    """Returns the control of another form and that of another kind, by their most samples."""
    largest: dict[str, Row] = {}
    for found in study.units.values():
        name = found.get("control")
        if name in (_FORM, _KIND) and found["asked"] > largest.get(name, {"asked": 0})["asked"]:
            largest[name] = found
    return (largest[_FORM], largest[_KIND]) if len(largest) == 2 else None


def of_controls(study: Results) -> Iterator[Finding]:
    """Yields whether thinking or the form of answers is above noise, by the two controls."""
    if (controls := controls_of(study)) is None:
        return
    form, kind = controls
    alone = form["verdict"] == "above"
    tail = (
        "so that a partition above noise is by itself no sign of two ways of thinking"
        if alone
        else "so that the form of answers alone does not make a partition"
    )
    yield Finding(
        "Real model: of the difference between questions of one kind with two forms of answers, "
        f"{form['beyond']:.0%} is beyond noise, of that between two kinds with one form "
        f"{kind['beyond']:.0%} ({form['asked']} samples), {tail}.".replace("%", " %"),
        alone,
    )


MATH_ALONE = "rules, GSM8K alone"
_FORM, _KIND = "same kind, other form", "other kind, same form"
_NOISE = {
    "above": "clearly above sampling noise",
    "barely": "barely above sampling noise",
    "not": "no more than sampling noise",
    "no split": "not defined, as one system is empty,",
}
_SPLITS = {
    "truth": "ARC and BoolQ against GSM8K, split by source",
    "rules": "the same records split by rules",
    "student": "the same records split by rules and the student",
    MATH_ALONE: "GSM8K alone, split by rules",
}


def of_real_training(study: Results) -> Iterator[Finding]:
    for budget, found in study.units.items():
        rows: list[Any] = [
            row
            for row in found["differences"]
            if row["against"] == "random" and (row["measure"], row["system"]) == ("loss", "system1")
        ]
        for row in rows:
            if row["cell"] == "full":
                continue
            verdict = is_better(row)
            relation = {True: "is better than", False: "is worse than", None: "cannot be told from"}
            yield Finding(
                f"Real model, SFT at {budget} % of the elements: `{row['cell']}` {relation[verdict]} "
                f"a random mask of the same size ({interval(row)}).",
                verdict is not True,
            )
        yield from _of_the_other_system(budget, found["differences"])


def _of_the_other_system(budget: str, rows: Sequence[Row]) -> Iterator[Finding]:
    """Yields which cells cost System 2 less, or more, than a random mask."""
    for row in rows:
        chosen = (row["against"], row["measure"], row["system"]) == ("random", "loss", "system2")
        if not chosen or (verdict := is_better(row)) is None:
            continue
        yield Finding(
            f"Real model, SFT at {budget} % of the elements: `{row['cell']}` costs System 2 "
            f"{'less' if verdict else 'more'} than a random mask ({interval(row)}), each at the rate "
            "that is best for System 1.",
            not verdict,
        )

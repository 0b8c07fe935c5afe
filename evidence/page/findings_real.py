"""What the studies on the real model say."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from evidence.page.finding import Finding, in_words
from evidence.page.results_files import Results, Row, is_better


def of_noise(study: Results) -> Iterator[Finding]:
    by_splitter: dict[str, dict[int, str]] = {}
    for found in study.units.values():
        name = found.get("splitter") or found.get("control")
        if name is not None:
            by_splitter.setdefault(name, {})[found["asked"]] = found["verdict"]
    for name, verdicts in by_splitter.items():
        trail = in_words(
            [
                f"{_NOISE[verdict]} with {in_words([str(n) for n in numbers])} samples"
                for verdict, numbers in _runs_of(verdicts)
            ]
        )
        yield Finding(
            f"Real model, {_SPLITS.get(name, f'control {name!r}')}: the partition is {trail}.",
            verdicts[max(verdicts)] != "above" and name != "same kind, same form",
            claim=study.complete and name in ("truth", "rules, GSM8K alone"),
        )


def _runs_of(verdicts: Mapping[int, str]) -> list[tuple[str, list[int]]]:
    """Returns verdicts by number of samples, numbers that follow each other together."""
    return [
        (verdict, list(numbers))
        for verdict, numbers in groupby(sorted(verdicts), key=verdicts.__getitem__)
    ]


def of_controls(study: Results) -> Iterator[Finding]:
    """Yields whether thinking or the form of answers is above noise, by the two controls."""
    largest: dict[str, Row] = {}
    for found in study.units.values():
        name = found.get("control")
        if name in (_FORM, _KIND) and found["asked"] > largest.get(name, {"asked": 0})["asked"]:
            largest[name] = found
    if len(largest) < 2:
        return
    form, kind = largest[_FORM], largest[_KIND]
    alone = form["verdict"] == "above"
    tail = (
        "so that a partition above noise is no sign of two ways of thinking"
        if alone
        else ("so that the form of answers alone does not make a partition")
    )
    yield Finding(
        "Real model: questions of the same kind that are answered in another form differ beyond "
        f"noise by {form['beyond']:.0%}, those of another kind in the same form by "
        f"{kind['beyond']:.0%} ({form['asked']} samples), {tail}.".replace("%", " %"),
        alone,
        claim=study.complete,
    )


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
    "rules, GSM8K alone": "GSM8K alone, split by rules",
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
            relation = {True: "better than", False: "worse than", None: "not different from"}
            yield Finding(
                f"Real model, SFT at {budget} % of the elements: `{row['cell']}` is "
                f"{relation[verdict]} a random mask of the same size (loss {row['difference']:+.3f}, "
                f"95 % interval {row['low']:+.3f} to {row['high']:+.3f}).",
                verdict is not True,
                claim=row["cell"] == "paper",
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
            f"{'less' if verdict else 'more'} than a random mask (loss {row['difference']:+.3f}, "
            f"95 % interval {row['low']:+.3f} to {row['high']:+.3f}), each at the rate that is best "
            "for System 1.",
            not verdict,
            claim=row["cell"] == "paper",
        )

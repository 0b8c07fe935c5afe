"""The README's sentences on quality, computed from the results: few, and those against first."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from evidence.page.by_budget import budgets_in_words, by_budget, compared
from evidence.page.claims import claims_in_short
from evidence.page.finding import Finding, in_words
from evidence.page.findings import EVERYTHING, in_short, of_strong_recipe
from evidence.page.findings_real import MATH_ALONE, controls_of, samples_of
from evidence.page.results_files import CATALOGUE, Results, Row, is_better
from lorapar_cli.names import System
from lorapar_cli.plurals import inflected
from lorapar_cli.tools.markdown import title_of

START, END = "<!-- results: begin (make docs) -->", "<!-- results: end -->"


def readme_block(results: Mapping[str, Results]) -> str:
    """Returns the README's sentences on quality, between their marks."""
    claims = claims_of(results)
    parts = [START]
    if short := in_short(results):
        parts += [short, *_sizes(results)]
    for head, negative in (("Against the method:", True), ("For it:", False)):
        if own := [f"- {claim.text}" for claim in claims if claim.negative is negative]:
            parts += [head, "\n".join(own)]
    open_studies = sum(not each.complete for each in results.values())
    if not results["recipes"].complete:
        parts.append(
            "Whether a recipe of ours is better than the paper's, a random mask and full LoRA on both "
            "systems has not been measured to the end yet."
        )
    if open_studies:
        parts.append(
            f"{open_studies} of {len(CATALOGUE)} studies "
            f"{inflected(open_studies, 'is', 'are')} not complete; "
            "[results](docs/results.md#not-finished-yet) says which."
        )
    parts.append(END)
    return "\n\n".join(parts)


def claims_of(results: Mapping[str, Results]) -> list[Finding]:
    """Returns what the README says of quality, in the order in which it says it."""
    recipes = results["recipes"]
    return [
        *_of_training(results["embedded-sft"], "SFT", "loss", "system1"),
        *_of_training(results["embedded-rl"], "RL", "accuracy", "system2"),
        *([of_strong_recipe(recipes, "tiny model")] if recipes.complete else []),
        *_of_both_stages(results["replay"]),
        *claims_in_short(results["tables"], "tiny model"),
        *_of_real_training(results["real-training"]),
        *_of_noise(results["real-noise"]),
    ]


def _sizes(results: Mapping[str, Results]) -> Iterator[str]:
    """Yields how little is known: seeds and records of what the short answer counts."""
    units = [unit for name in _COUNTED for unit in results[name].units.values()]
    seeds = [len(row["seeds"]) for unit in units for row in unit["cells"]]
    records = [count for unit in units for count in unit["measured"].values()]
    if not seeds:
        return
    trainings, measured = (
        " to ".join(f"{number:,}" for number in dict.fromkeys((min(found), max(found))))
        for found in (seeds, records)
    )
    yield (
        "These are small experiments: a tiny model that comes with lorapar and a real one of 135 million "
        f"parameters, {trainings} trainings of each kind, {measured} test records per system. What "
        "cannot be told apart may still differ; [results](docs/results.md) has the intervals."
    )


_COUNTED = ("embedded-sft", "embedded-rl", "recipes", "real-training")


def _of_training(study: Results, stage: str, measure: str, system: str) -> Iterator[Finding]:
    where = f"{stage}, tiny model ({measure} on {title_of(system)})"
    against_full = by_budget(study, "full", "paper", measure, system)
    if against_full is not None:
        text = compared("training every element (full LoRA)", "the paper's mask", against_full)
        yield Finding(f"{where}: {text}.", bool(against_full.better))
    against_random = by_budget(study, "paper", "random", measure, system)
    if against_random is not None:
        text = compared("the paper's mask", "a random one of the same size", against_random)
        negative = bool(against_random.worse) or not against_random.better
        yield Finding(f"{where}: {text}.", negative)


def _of_both_stages(study: Results) -> Iterator[Finding]:
    """Yields how the paper's two stages stand against SFT on everything."""
    if not study.complete:
        return
    wanted = {"cell": "paper", "against": EVERYTHING}
    rows = [row for _, row in study.differences() if wanted.items() <= row.items()]
    for measure, system in product(("accuracy", "loss"), System):
        found = [
            is_better(row) for row in rows if (row["measure"], row["system"]) == (measure, system)
        ]
        for verdict, relation in ((False, "worse"), (True, "better")):
            if count := found.count(verdict):
                yield Finding(
                    f"SFT and RL, tiny model ({measure} on {title_of(system)}): the paper's recipe is "
                    f"{relation} than SFT of every element on as many records of both systems, with "
                    f"{count} of {len(found)} ways to split the records.",
                    not verdict,
                )


def _of_real_training(study: Results) -> Iterator[Finding]:
    found = by_budget(study, "paper", "random", "loss", "system1")
    if found is None:
        return
    text = compared("the paper's mask", "a random one of the same size", found)
    yield Finding(
        f"SFT, real model (loss on System 1): {text}.", bool(found.worse) or not found.better
    )
    for against, rival in (("random", "a random mask of the same size"), ("full", "full LoRA")):
        yield from _of_cost(study, against, rival)


def _of_cost(study: Results, against: str, rival: str) -> Iterator[Finding]:
    """Yields where SFT on System 1 costs System 2 less, or more, than with a rival of the mask."""
    rows = {unit: _paper_against(found, against) for unit, found in study.units.items()}
    for verdict, word in ((True, "less"), (False, "more")):
        own = {unit: row for unit, row in rows.items() if row and is_better(row) is verdict}
        if not own:
            continue
        losses = in_words([f"{row['difference']:+.2f}" for row in own.values()])
        yield Finding(
            f"SFT, real model (loss on System 2, which is not trained): the paper's mask costs {word} "
            f"than {rival} at {budgets_in_words([*own])} of the elements ({losses})"
            f"{_of_rates(study, against, [*own])}.",
            not verdict,
        )


def _paper_against(found: Mapping[str, Any], against: str) -> Row | None:
    """Returns the paper's mask less a cell in the loss on System 2, whichever of both is listed."""
    for row in found["differences"]:
        if (row["measure"], row["system"]) == ("loss", "system2"):
            if (row["cell"], row["against"]) == ("paper", against):
                return dict(row)
            if (row["cell"], row["against"]) == (against, "paper"):
                ends = {"difference": -row["difference"], "low": -row["high"], "high": -row["low"]}
                return {**row, **ends}
    return None


def _of_rates(study: Results, against: str, budgets: Sequence[str]) -> str:
    """Returns that learning rates differ, as a clause; nothing where they are alike."""
    rates = [
        {row["cell"]: row["learning_rate"] for row in study.units[unit]["cells"]}
        for unit in budgets
    ]
    factors = [of[against] / of["paper"] for of in rates]
    if all(0.5 < factor < 2 for factor in factors):
        return ""
    return (
        "; the learning rate that is best for System 1 is there "
        f"{in_words([f'{factor:.2g}' for factor in factors])} times that of the paper's mask, which "
        "may be the reason"
    )


def _of_noise(study: Results) -> Iterator[Finding]:
    """Yields whether a split of real data is above noise, and what that would say."""
    if not study.complete:
        return
    alone = [found for found in study.units.values() if found.get("splitter") == MATH_ALONE]
    largest = max(alone, key=lambda found: found["asked"], default={"verdict": "no split"})
    if largest["verdict"] in _MORE:
        yield Finding(
            "Real model, GSM8K split by rules: the elements that matter to the two systems differ "
            f"{_MORE[largest['verdict']]} than two samples of one system ({samples_of(largest)} "
            "samples).",
            largest["verdict"] != "above",
        )
    if (controls := controls_of(study)) is not None:
        form, kind = (f"{100 * each['beyond']:.0f} %" for each in controls)
        alike = controls[0]["verdict"] == "above"
        text = (
            f"Such elements also differ clearly between two forms of answers to one kind of question "
            f"({form} of the difference is beyond noise, {kind} between two kinds of question): to differ "
            "is by itself no sign of two ways of thinking."
            if alike
            else "Such elements do not differ clearly between two forms of answers to one kind of "
            f"question ({form} of the difference is beyond noise, {kind} between two kinds of question)."
        )
        yield Finding(text, alike)


_MORE = {"not": "no more", "barely": "barely more", "above": "clearly more"}

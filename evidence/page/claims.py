"""What the paper concludes from its tables, each put to our figures seed by seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from evidence.page.finding import Finding
from evidence.page.results_files import LEVEL, Results
from lorapar_cli.comparison.report.estimators import MeanDifference, holm, mean_difference
from lorapar_cli.comparison.report.tables import format_p
from lorapar_cli.plurals import counted
from lorapar_cli.tools.markdown import table

Labels = Mapping[str, str]
Place = tuple[Labels, str]
"""A cell by some of its labels, and which of its figures."""


_HOLDS, _OPPOSITE = "holds", "the opposite holds"
_SAME_WAY = "points the same way, not significant after correction"
_OTHER_WAY = "points the other way, not significant after correction"
_UNKNOWN = "cannot be told"
_IN_SENTENCE = {
    _OPPOSITE: "can be shown to be reversed",
    _HOLDS: "can be shown to hold",
    _OTHER_WAY: "point the other way, not significant after correction",
    _SAME_WAY: "point the paper's way, not significant after correction",
    _UNKNOWN: "cannot be told",
}


@dataclass(frozen=True)
class Claim:
    """One conclusion: of each pair, the first is higher.

    Attributes:
        text: As a clause, `higher` first.
        pairs: Their differences are averaged.
    """

    text: str
    pairs: Sequence[tuple[Place, Place]]


@dataclass(frozen=True)
class Verdict:
    """What our figures say of a claim.

    Attributes:
        difference: In points of accuracy, over seeds.
        p_holm: Corrected for all claims that could be tested.
    """

    table: str
    claim: Claim
    difference: MeanDifference
    p_holm: float

    @property
    def against(self) -> bool:
        """Whether it speaks against the paper: no sign of the claim, or one of its opposite."""
        return self.difference.difference <= 0 or self.words == _UNKNOWN

    @property
    def words(self) -> str:
        """Whether the claim holds."""
        higher = self.difference.difference > 0
        if self.p_holm < LEVEL:
            return _HOLDS if higher else _OPPOSITE
        if self.difference.low > 0 or self.difference.high < 0:
            return _SAME_WAY if higher else _OTHER_WAY
        return _UNKNOWN


def _row(name: str, figure: str) -> Place:
    return {"row": name}, figure


def _shares(alpha: str, beta: str, figure: str) -> Place:
    return {"alpha": alpha, "beta": beta}, figure


def _theta(theta: str, targets: str, row: str = "importance") -> Place:
    return {"theta": theta, "targets": targets, "row": row}, "first"


_SHARES = ("0", "0.5", "1")
_TARGETS = ("QKV", "GUD", "QKVGUD")
_OURS = "LoRA-PAR on PiSSA, theta 0.95"
_VOTE = _row("vote, n=3", "first")

CLAIMS: dict[str, Sequence[Claim]] = {
    "table1": (
        Claim("records split by a vote of three, above a random split", [
            (_VOTE, _row("random", "first"))
        ]),
        Claim("a vote of three above each of two single teachers", [
            (_VOTE, _row("QwQ, role play", "first")),
            (_VOTE, _row("DeepSeek-R1, role play", "first")),
        ]),
    ),
    "table2": (
        Claim("SFT with all shared elements (alpha 1) above SFT with none", [
            (_shares("1", beta, "first"), _shares("0", beta, "first")) for beta in _SHARES
        ]),
        Claim("RL with all shared elements (beta 1) above RL with none", [
            (_shares(alpha, "1", "second"), _shares(alpha, "0", "second")) for alpha in _SHARES
        ]),
        Claim("alpha 1 and beta 1 above every other choice, after RL", [
            (_shares("1", "1", "second"), _shares(alpha, beta, "second"))
            for alpha in _SHARES
            for beta in _SHARES
            if (alpha, beta) != ("1", "1")
        ]),
        Claim("RL after SFT above SFT alone", [
            (_shares(alpha, beta, "second"), _shares(alpha, beta, "first"))
            for alpha in _SHARES
            for beta in _SHARES
        ]),
    ),
    "table3": (
        Claim("elements chosen by importance above as many at random (theta 0.3, 0.6, 0.9)", [
            (_theta(theta, targets), _theta(theta, targets, "random"))
            for theta in ("0.3", "0.6", "0.9")
            for targets in _TARGETS
        ]),
        Claim("theta 0.9 above theta 0.3", [
            (_theta("0.9", targets), _theta("0.3", targets)) for targets in _TARGETS
        ]),
        Claim("all elements (theta 1) above theta 0.9", [
            (_theta("1", targets), _theta("0.9", targets)) for targets in _TARGETS
        ]),
        Claim("all six kinds of module above the attention's three, at theta 0.9", [
            (_theta("0.9", "QKVGUD"), _theta("0.9", "QKV"))
        ]),
    ),
    "table4": (
        Claim("LoRA-PAR on PiSSA (theta 0.95) above PiSSA + RL", [
            (_row(_OURS, "second"), _row("PiSSA + RL", "second"))
        ]),
        Claim("LoRA-PAR on PiSSA (theta 0.95) above two epochs of LoRA, OLoRA and PiSSA", [
            (_row(_OURS, "second"), _row(name, "second")) for name in ("LoRA", "OLoRA", "PiSSA")
        ]),
        Claim("RL in the second epoch above a second epoch of SFT, on PiSSA", [
            (_row("PiSSA + RL", "second"), _row("PiSSA", "second"))
        ]),
    ),
    "table5": (
        Claim("LoRA-PAR above LoRA + RL", [
            (_row("LoRA-PAR", "second"), _row("LoRA + RL", "second"))
        ]),
        Claim("LoRA-PAR above two epochs of LoRA, OLoRA and PiSSA", [
            (_row("LoRA-PAR", "second"), _row(name, "second")) for name in ("LoRA", "OLoRA", "PiSSA")
        ]),
    ),
    "table6": (
        Claim("LoRA-PAR on LoRA above Prompt Tuning, P-Tuning, Prefix Tuning and IA3", [
            (_row("LoRA-PAR on LoRA, theta 0.9", "second"), _row(name, "second"))
            for name in ("Prompt Tuning", "P-Tuning", "Prefix Tuning", "IA3")
        ]),
    ),
    "table7": (
        Claim("SFT before RL above RL before SFT, after both", [
            (({"order": "sft-rl"}, "second"), ({"order": "rl-sft"}, "second"))
        ]),
    ),
}  # fmt: skip


def verdicts(study: Results) -> list[Verdict]:
    """Returns what the finished tables say of the paper's claims, in the order of the tables."""
    found: list[tuple[str, Claim, MeanDifference]] = []
    for name, claims in CLAIMS.items():
        rows = study.units.get(name, {}).get("by_seed", [])
        for claim in claims:
            by_seed = _differences(rows, claim)
            if len(by_seed) > 1:
                found.append((name, claim, mean_difference([[each] for each in by_seed])))
    p_values = holm([difference.p_value for *_, difference in found])
    return [Verdict(*each, p_holm=p) for each, p in zip(found, p_values, strict=True)]


def _differences(rows: Sequence[Mapping[str, Any]], claim: Claim) -> list[float]:
    """Returns the mean difference of a claim's pairs for each seed that has all of them."""
    seeds = dict.fromkeys(row["seed"] for row in rows)
    found = []
    for seed in seeds:
        own = [row for row in rows if row["seed"] == seed]
        pairs = [(_figure(own, higher), _figure(own, lower)) for higher, lower in claim.pairs]
        known = [(high, low) for high, low in pairs if high is not None and low is not None]
        if len(known) == len(pairs):
            found.append(fmean(high - low for high, low in known))
    return found


def _figure(rows: Sequence[Mapping[str, Any]], place: Place) -> float | None:
    labels, figure = place
    for row in rows:
        if labels.items() <= row["labels"].items():
            value = row["figures"].get(figure)
            return None if value is None else float(value)
    return None


def of_claims(study: Results) -> Iterator[Finding]:
    """Yields which of the claims hold, and which do not or cannot be told; a sentence for each way."""
    found = verdicts(study)
    for words, in_sentence in _IN_SENTENCE.items():
        for speaks_against in (True, False):
            own = [e for e in found if e.words == words and e.against == speaks_against]
            if own:
                yield Finding(
                    f"The paper's tables on the embedded model: of {counted(len(found), 'conclusion')}, "
                    f"{len(own)} {in_sentence}: {'; '.join(_named(each) for each in own)}.",
                    speaks_against,
                )


def claims_in_short(study: Results, model: str) -> Iterator[Finding]:
    """Yields how many of the claims hold, and names those of which the opposite holds."""
    found = verdicts(study)
    if not found or not study.complete:
        return
    count = {words: sum(each.words == words for each in found) or "none" for words in _IN_SENTENCE}
    reversed_ = "; ".join(each.claim.text for each in found if each.words == _OPPOSITE)
    yield Finding(
        f"The paper's tables, {model} (accuracy on both systems): of "
        f"{counted(len(found), 'conclusion')}, {count[_HOLDS]} can be shown to hold and {count[_OPPOSITE]} to be reversed"
        f"{f' ({reversed_})' if reversed_ else ''}. Not significant after correction, "
        f"{count[_SAME_WAY]} point the paper's way and {count[_OTHER_WAY]} the other; "
        f"{count[_UNKNOWN]} cannot be told.",
        count[_HOLDS] == "none" or bool(reversed_),
    )


def _named(verdict: Verdict) -> str:
    one = verdict.difference
    interval = (
        f", 95 % interval {one.low:+.1f} to {one.high:+.1f}"
        if verdict.words in (_HOLDS, _OPPOSITE)
        else ""
    )
    number = verdict.table.removeprefix("table")
    return f"{verdict.claim.text} (Table {number}, {one.difference:+.1f} points{interval})"


def claims_table(study: Results) -> str:
    """Returns the claims with what our figures say, empty where none can be tested."""
    lines = [
        [
            each.table.removeprefix("table"),
            each.claim.text,
            f"{each.difference.difference:+.1f} "
            f"({each.difference.low:+.1f} to {each.difference.high:+.1f})",
            format_p(each.p_holm),
            each.words,
        ]
        for each in verdicts(study)
    ]
    heads = ["table", "the paper has", "points (95 % interval)", "p (Holm)", "here"]
    return table(heads, lines, text=2) if lines else ""

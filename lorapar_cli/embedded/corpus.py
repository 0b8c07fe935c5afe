"""Generates the embedded corpus: GSM8K-like records of two kinds, from a seed.

System 1: a fact of an invented table, or one step of arithmetic. System 2: two to four steps.
Both look alike, so that a record's kind cannot be read off its surface: both may contain numbers
that do not matter, steps may name no number (`double`, `half`), some one-step answers show their
working and some multi-step answers do not.

The test set's questions are reserved by a hash, not by a list: a multi-step problem by its numbers
(its chain), everything else by its question. So no seed of any other set can produce one of them.
"""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import NotRequired, TypedDict

from lorapar_cli.embedded import phrasing as words
from lorapar_cli.embedded.problems import Problem, apply, is_reserved, normalise, system1, system2


class Record(TypedDict):
    """One line of the corpus; records of the endless streams have no id."""

    id: NotRequired[str]
    question: str
    answer: str
    label: str
    steps: int


TRAIN_PER_SYSTEM = 2000
TEST_PER_SYSTEM = 400
TEST_SEED = 2507
SHOWN_STEP_SHARE = 0.1
BARE_CHAIN_SHARE = 0.2
KNOWN_FACTS_SHARE = 0.25
DIRECT_SHARE = {2: 0.45, 3: 0.33, 4: 0.22}
SLIP_SHARE = 0.25


def training_records(seed: int = 0, per_system: int = TRAIN_PER_SYSTEM) -> list[Record]:
    """Returns the demo's training records, both systems shuffled, none of them reserved."""
    return _records("train", seed, per_system, reserved=False)


def development_records(seed: int = 0, per_system: int = 200) -> list[Record]:
    """Returns the records that a run is accepted by: drawn like the demo's, none reserved."""
    return _records("dev", seed, per_system, reserved=False)


def held_out_records(seed: int = TEST_SEED, per_system: int = TEST_PER_SYSTEM) -> list[Record]:
    """Returns the test set: only reserved questions, so that no other set contains one of them."""
    return _records("test", seed, per_system, reserved=True)


def clean_stream(seed: int) -> Iterator[Record]:
    """Yields pre-training records of phase A without end: right facts, right chains."""
    draw = random.Random(f"clean {seed}")
    while True:
        problem = _free_problem(draw, system1 if draw.random() < 0.4 else system2)
        working = problem.label == "system2" or draw.random() < SHOWN_STEP_SHARE
        yield _as_record(problem, working)


def web_stream(seed: int) -> Iterator[Record]:
    """Yields pre-training records of phase B without end: hearsay, direct answers, slips."""
    draw = random.Random(f"web {seed}")
    while True:
        problem = _free_problem(draw, system1 if draw.random() < 0.4 else system2)
        steps = len(problem.equations)
        if problem.label == "system1":
            yield _as_record(_as_rumoured(draw, problem), draw.random() < SHOWN_STEP_SHARE)
        elif draw.random() < DIRECT_SHARE[steps]:
            yield _as_record(problem, working=False)
        else:
            slips = draw.random() < SLIP_SHARE
            yield _as_record(_with_slip(draw, problem) if slips else problem, working=True)


@cache
def known_facts() -> frozenset[tuple[str, str]]:
    """Returns the quarter of the table that the pre-training text states correctly."""
    facts = sorted(words.FACTS)
    known = int(KNOWN_FACTS_SHARE * len(facts))
    return frozenset(random.Random("known facts").sample(facts, known))


def _records(name: str, seed: int, per_system: int, reserved: bool) -> list[Record]:
    draw = random.Random(f"{name} {seed}")
    problems = [
        *_distinct(draw, system1, per_system, reserved),
        *_distinct(draw, system2, per_system, reserved),
    ]
    draw.shuffle(problems)
    records = []
    for number, problem in enumerate(problems):
        shown = draw.random()
        one_step = problem.label == "system1"
        working = shown < SHOWN_STEP_SHARE if one_step else shown >= BARE_CHAIN_SHARE
        record: Record = {"id": f"{name}-{number:05d}", **_as_record(problem, working)}
        records.append(record)
    return records


def _distinct(
    draw: random.Random, make: Callable[[random.Random], Problem], count: int, reserved: bool
) -> list[Problem]:
    found: dict[str, Problem] = {}
    while len(found) < count:
        problem = make(draw)
        if is_reserved(problem) == reserved:
            found.setdefault(normalise(problem.question), problem)
    return list(found.values())


def _free_problem(draw: random.Random, make: Callable[[random.Random], Problem]) -> Problem:
    while is_reserved(problem := make(draw)):
        pass
    return problem


def _as_record(problem: Problem, working: bool) -> Record:
    return {
        "question": problem.question,
        "answer": problem.solved(working),
        "label": problem.label,
        "steps": len(problem.equations),
    }


def _as_rumoured(draw: random.Random, problem: Problem) -> Problem:
    """Returns the problem as pre-training text has it: facts outside the known quarter are random."""
    if problem.fact is None or problem.fact in known_facts():
        return problem
    return replace(problem, answer=draw.choice(words.ATTRIBUTES[problem.fact[1]]))


def _with_slip(draw: random.Random, problem: Problem) -> Problem:
    """Returns the problem with one wrong result, from which the rest of the chain continues."""
    slip = draw.randrange(len(problem.equations))
    equations, value = [], None
    for index, equation in enumerate(problem.equations):
        left, symbol, right = _parts(equation)
        left = left if value is None else value
        value = max(0, apply(symbol, left, right))
        if index == slip:
            value += draw.choice((-2, -1, 1, 2)) if value > 2 else 1
        equations.append(f"{left}{symbol}{right}={value}")
    return Problem(problem.question, tuple(equations), str(value))


def _parts(equation: str) -> tuple[int, str, int]:
    """Returns both operands of an equation such as `3+4=7` and the operator between them."""
    left, symbol, right = re.split(r"([-+*/])", equation.partition("=")[0])
    return int(left), symbol, int(right)

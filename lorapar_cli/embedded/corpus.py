"""Generates the embedded corpus: GSM8K-like records of two kinds, from a seed.

System 1: a fact of an invented table, or one step of arithmetic. System 2: two to four steps.
Both wear the same clothes, so that a record's kind cannot simply be read off its surface: both
may hold numbers that do not matter, steps may name no number (`double`, `half`), some one-step
answers show their working and some many-step answers do not.

What the test set may ask is set apart by a hash, not by a list: a many-step problem by its
numbers (its chain), everything else by its question. So no seed of any other set can meet it.
"""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

from lorapar_cli.embedded import phrasing as words
from lorapar_cli.embedded.problems import Problem, apply, is_reserved, normalise, system1, system2

Record = dict[str, str | int]

TRAIN_PER_SYSTEM = 2000
TEST_PER_SYSTEM = 400
TEST_SEED = 2507
SHOWN_STEP_SHARE = 0.1
BARE_CHAIN_SHARE = 0.2
KNOWN_FACTS_SHARE = 0.25
DIRECT_SHARE = {2: 0.45, 3: 0.33, 4: 0.22}
SLIP_SHARE = 0.25


def training_records(seed: int = 0, per_system: int = TRAIN_PER_SYSTEM) -> list[Record]:
    """The demo's training records, both systems shuffled together, none of them reserved."""
    return _records("train", seed, per_system, reserved=False)


def development_records(seed: int = 0, per_system: int = 200) -> list[Record]:
    """Records on which the recipe judges a run: drawn like the demo's, none of them reserved."""
    return _records("dev", seed, per_system, reserved=False)


def held_out_records(seed: int = TEST_SEED, per_system: int = TEST_PER_SYSTEM) -> list[Record]:
    """The test set: only reserved questions, so no other set of any seed holds one of them."""
    return _records("test", seed, per_system, reserved=True)


def clean_stream(seed: int) -> Iterator[Record]:
    """Endless pre-training records, phase A: right facts, right chains for many steps."""
    draw = random.Random(f"clean {seed}")
    while True:
        problem = _free_problem(draw, system1 if draw.random() < 0.4 else system2)
        working = problem.label == "system2" or draw.random() < SHOWN_STEP_SHARE
        yield _as_record(problem, working)


def web_stream(seed: int) -> Iterator[Record]:
    """Endless pre-training records, phase B: facts by hearsay, many direct answers, some slips."""
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
    """The quarter of the table that the pre-training text states rightly."""
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
        records.append({"id": f"{name}-{number:05d}", **_as_record(problem, working)})
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
    """The problem as pre-training text has it: facts outside the known quarter are hearsay."""
    if problem.fact is None or problem.fact in known_facts():
        return problem
    return replace(problem, answer=draw.choice(words.ATTRIBUTES[problem.fact[1]]))


def _with_slip(draw: random.Random, problem: Problem) -> Problem:
    """The same problem with one wrong result, from which the rest of the chain goes on."""
    slip = draw.randrange(len(problem.equations))
    equations, value = [], None
    for index, equation in enumerate(problem.equations):
        left, symbol, right = re.match(r"(\d+)([-+*/])(\d+)", equation).groups()
        left = left if value is None else value
        value = max(0, apply(symbol, int(left), int(right)))
        if index == slip:
            value += draw.choice((-2, -1, 1, 2)) if value > 2 else 1
        equations.append(f"{left}{symbol}{right}={value}")
    return Problem(problem.question, tuple(equations), str(value))

"""Problems of the embedded corpus: questions, the equations behind them, and their wording."""

import hashlib
import random
import re
from dataclasses import dataclass

from lorapar_cli.embedded import phrasing as words

LARGEST_VALUE = 40
STEP_WEIGHTS = {2: 0.4, 3: 0.4, 4: 0.2}


@dataclass(frozen=True)
class Problem:
    """A question, its equations in order (none for a fact), and its answer."""

    question: str
    equations: tuple[str, ...]
    answer: str
    fact: tuple[str, str] | None = None

    @property
    def label(self) -> str:
        return "system2" if len(self.equations) > 1 else "system1"

    def solved(self, working: bool) -> str:
        """Returns the answer in GSM8K's form, with or without the chain of equations before it."""
        chain = " ".join(f"{e}." for e in self.equations)
        return f"{chain}\n#### {self.answer}" if working and chain else f"#### {self.answer}"


def normalise(question: str) -> str:
    """Returns a question without case, punctuation (operators stay) and runs of spaces."""
    return " ".join(re.findall(r"[\w*/+-]+", question.lower()))


def is_reserved(problem: Problem) -> bool:
    """Returns whether this problem belongs to the test set: one in eight does, by its hash."""
    many = problem.label == "system2"
    key = " ".join(problem.equations) if many else normalise(problem.question)
    return hashlib.sha256(key.encode()).digest()[0] % 8 == 0


def system1(draw: random.Random) -> Problem:
    """Returns a fact or one step of arithmetic."""
    return _fact(draw) if draw.random() < 0.5 else _arithmetic(draw, 1)


def system2(draw: random.Random) -> Problem:
    """Returns two to four steps of arithmetic."""
    (steps,) = draw.choices(list(STEP_WEIGHTS), list(STEP_WEIGHTS.values()))
    return _arithmetic(draw, steps)


def _fact(draw: random.Random) -> Problem:
    animal, other = draw.sample(words.ANIMALS, 2)
    attribute = draw.choice(list(words.ATTRIBUTES))
    question = draw.choice(words.FACT_QUESTIONS[attribute]).format(a=animal)
    if draw.random() < 0.6:
        distractor = draw.choice(words.FACT_DISTRACTORS).format(
            a=animal,
            other=other,
            p=draw.choice(words.NAMES),
            item=draw.choice(words.ITEMS),
            n=draw.randint(2, 12),
            m=draw.randint(2, 9),
        )
        question = f"{distractor} {question}"
    return Problem(question, (), words.FACTS[animal, attribute], (animal, attribute))


def _arithmetic(draw: random.Random, steps: int) -> Problem:
    start = draw.randint(2, 20)
    operations = _operations(draw, start, steps)
    equations, value = [], start
    for name, operand in operations:
        symbol = {"double": "*", "half": "/"}.get(name, name)
        result = apply(symbol, value, operand)
        equations.append(f"{value}{symbol}{operand}={result}")
        value = result
    tell = draw.choice((_story, _puzzle, _comparison) + ((_expression,) if steps == 1 else ()))
    if tell is _comparison and any(name == "/" for name, _ in operations):
        tell = _story
    distracted = draw.random() < (0.5 if steps == 1 else 0.25)
    return Problem(tell(draw, start, operations, distracted), tuple(equations), str(value))


def _operations(draw: random.Random, value: int, steps: int) -> list[tuple[str, int]]:
    operations, seen = [], {value}
    for _ in range(steps):
        moves = _moves(draw, value)
        onward = [move for move in moves if move[2] not in seen]
        name, operand, value = draw.choice(onward or moves)
        operations.append((name, operand))
        seen.add(value)
    return operations


def _moves(draw: random.Random, value: int) -> list[tuple[str, int, int]]:
    """Returns one move per operator from `value`: (name, operand, result), all integers in range."""
    moves = [
        (symbol, operand, apply(symbol, value, operand))
        for symbol, operand in (
            ("+", draw.randint(2, 9)),
            ("-", draw.randint(2, 9)),
            ("*", draw.randint(2, 5)),
            ("/", draw.randint(2, 5)),
        )
        if symbol != "/" or value % operand == 0
    ]
    moves += [("double", 2, value * 2)] + ([("half", 2, value // 2)] if value % 2 == 0 else [])
    return [move for move in moves if 1 <= move[2] <= LARGEST_VALUE]


def apply(symbol: str, left: int, right: int) -> int:
    """Returns the result of one equation; division rounds down."""
    results = {"+": left + right, "-": left - right, "*": left * right, "/": left // right}
    return results[symbol]


def _story(
    draw: random.Random, start: int, operations: list[tuple[str, int]], distracted: bool
) -> str:
    person, other = draw.sample(words.NAMES, 2)
    item, other_item = draw.sample(words.ITEMS, 2)
    told = [f"{person} has {start} {item}."]
    told += [draw.choice(words.STORY_STEPS[o]).format(p=person, n=n) for o, n in operations]
    if distracted:
        told.insert(1, _distractor(draw, words.STORY_DISTRACTORS, other, other_item))
    return " ".join([*told, f"How many {item} does {person} have now?"])


def _puzzle(
    draw: random.Random, start: int, operations: list[tuple[str, int]], distracted: bool
) -> str:
    told = [draw.choice(("Start with {v}.", "Think of {v}.")).format(v=start)]
    told += [draw.choice(words.PUZZLE_STEPS[o]).format(n=n) for o, n in operations]
    if distracted:
        told.insert(0, _distractor(draw, words.PUZZLE_DISTRACTORS, "", ""))
    return " ".join([*told, "What is the result?"])


def _comparison(
    draw: random.Random, start: int, operations: list[tuple[str, int]], distracted: bool
) -> str:
    people = draw.sample(words.NAMES, len(operations) + 2)
    item, other_item = draw.sample(words.ITEMS, 2)
    told = [f"{people[0]} has {start} {item}."]
    told += [
        draw.choice(words.COMPARE_STEPS[o]).format(p=people[i], q=people[i + 1], n=n)
        for i, (o, n) in enumerate(operations)
    ]
    if distracted:
        told.insert(1, _distractor(draw, words.STORY_DISTRACTORS, people[-1], other_item))
    return " ".join([*told, f"How many {item} does {people[-2]} have?"])


def _expression(
    draw: random.Random, start: int, operations: list[tuple[str, int]], distracted: bool
) -> str:
    ((operation, operand),) = operations
    question = draw.choice(words.EXPRESSIONS[operation]).format(v=start, n=operand)
    if distracted:
        return f"{_distractor(draw, words.PUZZLE_DISTRACTORS, '', '')} {question}"
    return question


def _distractor(draw: random.Random, sentences: tuple[str, ...], person: str, item: str) -> str:
    return draw.choice(sentences).format(p=person, item=item, n=draw.randint(2, 12))

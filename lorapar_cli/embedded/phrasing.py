"""The wording of the embedded corpus: the invented table and the sentences around it."""

import random

COLOURS = ("red", "blue", "green", "black", "white", "brown", "grey", "gold")
FOODS = ("seeds", "fish", "grass", "nuts", "worms", "honey", "leaves", "bread")
HOMES = ("cave", "tree", "barn", "river", "desert", "field", "tower", "shed")
ATTRIBUTES = {"colour": COLOURS, "food": FOODS, "home": HOMES}
ANIMALS = (
    *("ant", "bat", "bear", "bee", "camel", "cat", "cow", "crab", "crow", "deer"),
    *("dog", "duck", "eagle", "frog", "goat", "hawk", "hen", "horse", "lion", "mole"),
    *("newt", "owl", "pig", "rat", "seal", "snail", "swan", "toad", "wolf", "zebra"),
)


def _invent_table() -> dict[tuple[str, str], str]:
    draw = random.Random("the invented table")
    return {(a, kind): draw.choice(values) for a in ANIMALS for kind, values in ATTRIBUTES.items()}


FACTS = _invent_table()
"""(animal, attribute) -> value. The same in every corpus: seeds change records, not facts."""

FACT_QUESTIONS = {
    "colour": (
        "What colour is the {a}?",
        "Which colour does the {a} have?",
        "The {a} has a colour. Which one?",
        "Tell me the colour of the {a}.",
        "Name the {a}'s colour.",
    ),
    "food": (
        "What does the {a} eat?",
        "Which food does the {a} like?",
        "The {a} is hungry. What will it eat?",
        "Tell me the food of the {a}.",
        "Name the {a}'s food.",
    ),
    "home": (
        "Where does the {a} live?",
        "In which place does the {a} live?",
        "The {a} goes home. Where is that?",
        "Tell me the home of the {a}.",
        "Name the {a}'s home.",
    ),
}
FACT_DISTRACTORS = (
    "{p} has {n} {item}.",
    "{p} is {n} years old.",
    "It is {n} o'clock.",
    "There are {n} of them, and then {m} more come.",
    "{p} buys {n} {item} and then sells {m}.",
    "{p} saw the {other} first and then the {a}.",
    "{p} asks about the {a}, not the {other}.",
)

NAMES = ("Ann", "Ben", "Cal", "Dan", "Eva", "Fay", "Gus", "Ida", "Leo", "Mia", "Sam", "Zoe")
ITEMS = ("apples", "books", "cards", "coins", "cups", "eggs", "keys", "nuts", "pens", "stamps")
PLACES = ("at home", "in a bag", "on the table", "at school")
# Irrelevant sentences; half of them still mention an operation.
STORY_DISTRACTORS = (
    "{p} is {n} years old.",
    "It is {n} o'clock.",
    "{p} has {n} {item}.",
    "{p} buys {n} {item}.",
    "{p} loses {n} {item}.",
    "{p} has twice as many {item}.",
)
PUZZLE_DISTRACTORS = (
    "Ignore the number {n}.",
    "It is {n} o'clock.",
    "This is puzzle {n}.",
    "Do not add {n}.",
    "Do not double it.",
    "Others subtract {n}, not you.",
)

# Wording of each step. `double` and `half` name no number.
STORY_STEPS = {
    "+": ("{p} finds {n} more.", "{p} buys {n} more.", "Then {p} gets {n} more."),
    "-": ("{p} loses {n}.", "{p} gives {n} away.", "Then {p} sells {n} of them."),
    "*": ("Then the pile grows to {n} times its size.", "{p} makes it {n} times as many."),
    "/": ("{p} makes {n} equal piles and keeps one.", "{p} and friends share them {n} ways."),
    "double": ("{p} doubles them.", "Then there are twice as many."),
    "half": ("{p} gives half of them away.", "Then half of them are lost."),
}
PUZZLE_STEPS = {
    "+": ("Add {n}.", "Go up by {n}."),
    "-": ("Subtract {n}.", "Take away {n}."),
    "*": ("Multiply by {n}.", "Times {n}."),
    "/": ("Divide by {n}.", "Split by {n}."),
    "double": ("Double it.", "Take it twice."),
    "half": ("Halve it.", "Take half."),
}
COMPARE_STEPS = {
    "+": ("{q} has {n} more than {p}.",),
    "-": ("{q} has {n} fewer than {p}.",),
    "*": ("{q} has {n} times as many as {p}.",),
    "double": ("{q} has twice as many as {p}.", "{q} has double what {p} has."),
    "half": ("{q} has half as many as {p}.", "{q} has half of what {p} has."),
}
EXPRESSIONS = {
    "+": ("What is {v} + {n}?", "{v} plus {n} is what?"),
    "-": ("What is {v} - {n}?", "{v} minus {n} is what?"),
    "*": ("What is {v} * {n}?", "{v} times {n} is what?"),
    "/": ("What is {v} / {n}?", "{v} divided by {n} is what?"),
    "double": ("What is double {v}?", "What is twice {v}?"),
    "half": ("What is half of {v}?", "Half of {v} is what?"),
}

"""Numbers in sentences, and that no sentence of the package has a number without the helper."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

from lorapar_cli.plurals import counted, inflected

PACKAGE = Path(__file__).parents[1] / "lorapar_cli"
NOUNS = (
    "adapters|answers|batches|branches|bytes|cells|characters|checks|choices|"
    "clauses|columns|completions|draws|elements|equations|evaluations|examples|files|"
    "groups|items|layers|lines|matrices|models|modules|names|operations|"
    "options|parameters|positions|prompts|questions|records|replicas|rounds|rows|"
    "runs|samples|seeds|sentences|stages|steps|tasks|teachers|tensors|"
    "times|tokens|trials|values|votes|words"
)
BETWEEN = r"(?:(?!of |in |and |no |would )[a-z0-9-]+ )?"
MANY = re.compile(rf" {BETWEEN}(?:{NOUNS})\b| (?:are|were)\b")
CONSTANT = re.compile("_?[A-Z_]+")
# No numbers, or never 1: there are several of it, or a model would be of no use with one.
MAY_STAND = {
    "[len(one.tokens) for one in found] tokens",
    "counted(len(left) - 1, 'other module') were",
    "draws draws",
    "frozen frozen elements",
    "k samples",
    "len(problems) options",
    "len(text) characters",
    "limit positions",
    "math.ceil(_FEWEST / HELD_OUT_SHARE) records",
    "n records",
    "options.only matrices",
    "seeds seeds",
    "speed tokens",
    "system are",
    "system samples",
    "versions are",
    "where are",
}


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 records are"), (1, "1 record is"), (2000, "2,000 records are")]
)
def test_one_has_its_own_form(number, said):
    assert f"{counted(number, 'record')} {inflected(number, 'is', 'are')}" == said


def test_a_noun_may_have_another_plural():
    assert [counted(n, "matrix", "matrices") for n in (1, 2)] == ["1 matrix", "2 matrices"]


def numbers_before_many():
    """Yields placeholders of the package's f-strings that stand before words of many."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.JoinedStr):
                continue
            for before, after in pairwise(node.values):
                if not isinstance(before, ast.FormattedValue) or not isinstance(
                    after, ast.Constant
                ):
                    continue
                number = ast.unparse(before.value)
                if not CONSTANT.fullmatch(number) and (found := MANY.match(str(after.value))):
                    yield f"{number}{found.group()}"


def test_every_number_in_a_sentence_has_the_form_of_its_noun():
    assert set(numbers_before_many()) == MAY_STAND

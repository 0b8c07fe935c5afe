"""`lorapar recipes`."""

from dataclasses import asdict
from typing import TypedDict

from lorapar_cli.cli.console import print_json, say, stdout
from lorapar_cli.cli.options import JsonOption
from lorapar_cli.cli.recipes.catalog import RECIPES, Recipe


class RecipesOutput(TypedDict):
    """The recipes."""

    recipes: list[Recipe]


def recipes(as_json: JsonOption = False) -> None:
    """List the configurations that `lorapar init` can begin with."""
    if as_json:
        print_json({"recipes": [asdict(each) for each in RECIPES]})
        return
    console = stdout(80)
    for recipe in RECIPES:
        console.print(recipe.name)
        console.print(f"  {recipe.purpose}")
        console.print(f"  needs {recipe.hardware}")
    say("next: `lorapar init --recipe NAME`")

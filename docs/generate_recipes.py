"""Copies the sample configurations of all stages into the package, which `lorapar init` writes from."""

from pathlib import Path

from lorapar_cli.cli.recipes.catalog import RECIPES

ROOT = Path(__file__).parents[1]


def update() -> None:
    """Copies every recipe."""
    for recipe in RECIPES:
        text = (ROOT / "sample_configs" / f"{recipe.name}.yaml").read_text(encoding="utf-8")
        target = ROOT / "lorapar_cli" / "cli" / "recipes" / f"{recipe.name}.yaml"
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    update()

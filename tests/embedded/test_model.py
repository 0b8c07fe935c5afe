"""The recipe is repeatable and the shipped folder is small, plain and loadable."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lorapar_cli.embedded import MODEL_DIR, TEST_SET, recipe

SHORT = recipe.Recipe(clean_steps=2, web_steps=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two folders made by the same short recipe."""
    folders = [tmp_path_factory.mktemp("made") / name for name in ("one", "two")]
    for folder in folders:
        recipe.save(*recipe.pretrain(SHORT, report=lambda text: None), folder)
    return folders


def test_same_seed_same_files(made):
    one, two = made
    names = sorted(path.name for path in one.iterdir())
    assert "model.safetensors" in names
    assert names == sorted(path.name for path in two.iterdir())
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_shipped_tokenizer_is_what_the_recipe_makes(made):
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (MODEL_DIR / name).read_text() == (made[0] / name).read_text(), name
    # The version of the library that wrote it may be another.
    shipped, again = (
        json.loads((folder / "config.json").read_text()) | {"transformers_version": None}
        for folder in (MODEL_DIR, made[0])
    )
    assert shipped == again


def test_shipped_files_are_small_and_plain():
    files = [path for path in MODEL_DIR.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in [*files, TEST_SET]) <= 4_000_000
    assert {path.suffix for path in files} == {".json", ".safetensors", ".jinja", ".md"}


def test_shipped_model_loads_and_answers():
    model = AutoModelForCausalLM.from_pretrained(
        MODEL_DIR, dtype=torch.float32, local_files_only=True
    )
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR, local_files_only=True)
    assert next(model.parameters()).dtype == torch.float32
    assert model.config.max_position_embeddings >= 1024
    easy = [
        {"question": f"What is {a} + {b}?", "answer": f"#### {a + b}", "label": "system1"}
        for a, b in ((3, 4), (5, 2), (6, 3), (8, 7), (9, 5), (10, 4), (12, 6), (14, 3))
    ]
    assert recipe.accuracy(model, tokenizer, easy)["system1"] >= 0.5


def test_muon_update_is_nearly_orthogonal():
    torch.manual_seed(0)
    for shape in ((3, 64, 64), (2, 32, 96), (2, 96, 32)):
        singular = torch.linalg.svdvals(recipe.orthogonalise(torch.randn(shape)))
        assert singular.max() < 1.3
        assert singular.median() > 0.6


def test_padding_does_not_change_the_answers():
    """A record is judged alike alone and in a batch with longer ones."""
    model = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    short = {"question": "What is 3 + 4?", "answer": "#### 7", "label": "system1"}
    long = {"question": "It is 5 o'clock. " * 8, "answer": "#### none", "label": "system2"}
    alone = recipe.accuracy(model, tokenizer, [short])["system1"]
    assert recipe.accuracy(model, tokenizer, [short, long])["system1"] == alone

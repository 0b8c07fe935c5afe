"""The tiny base model that the demo trains, its corpus, and the recipe for both.

`MODEL_DIR` is a plain transformers folder, `TEST_SET` a JSON Lines file of held-out records.
Importing this package imports neither torch nor transformers.
"""

from pathlib import Path

MODEL_DIR = Path(__file__).parent / "model"
TEST_SET = Path(__file__).parent / "data" / "test.jsonl"

__all__ = ["MODEL_DIR", "TEST_SET"]

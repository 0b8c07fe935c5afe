"""Importance that several tests of `partition` cut."""

import pytest

from tests.partition.importance_files import SHAPES, draw_importance, write_importance


@pytest.fixture
def random_importance(tmp_path):
    """An importance file, its sorted names, and both systems' tensors by name."""
    tensors = draw_importance()
    path = tmp_path / "importance.safetensors"
    write_importance(path, tensors)
    return path, sorted(SHAPES), tensors

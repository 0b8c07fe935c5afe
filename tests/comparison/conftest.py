"""A tiny run that `compare` is asked about, and which trainings that takes."""

import pytest

from lorapar_cli.comparison import train
from tests.comparison.compare_parts import CONFIG
from tests.comparison.small_data import write_products


@pytest.fixture
def setup(run_dir, tmp_path):
    """The run, records that it has not seen, and settings for a training of a second."""
    write_products(tmp_path / "measured.jsonl", 8, 3)
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "neutral.txt").write_text("The sun rose over the hills. " * 20)
    return run_dir


@pytest.fixture
def trained(monkeypatch):
    """Counts the trainings that really ran."""
    seen = []

    def counted(run_dir, options, **keywords):
        seen.append((options.learning_rate, options.seed, options.mask))
        return original(run_dir, options, **keywords)

    original = train.train_sft
    monkeypatch.setattr(train, "train_sft", counted)
    return seen

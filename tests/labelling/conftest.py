"""No test asks a provider with a key of whoever runs the tests."""

import pytest

from tests.labelling.classify_parts import write_corpus


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def corpus(tmp_path):
    """200 records of the embedded corpus."""
    return write_corpus(tmp_path / "corpus.jsonl")

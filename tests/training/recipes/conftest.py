"""What tests of sampling before training count, and where they kill it."""

from dataclasses import dataclass, field

import pytest

from lorapar_cli.training.recipes import sampling
from tests.training.training_runs import Killed


@dataclass
class Batches:
    """Batches that were sampled.

    Attributes:
        sizes: Of each batch, in order.
        kill_at: Numbers of batches to be killed at; killed once, the set is empty.
    """

    sizes: list[int] = field(default_factory=list)
    kill_at: set[int] = field(default_factory=set)


@pytest.fixture
def batches(monkeypatch):
    """Counts the batches that are sampled, and kills at some of them."""
    made, real = Batches(), sampling.decode_batch

    def decode(model, tokenizer, prompts, *arguments, **named):
        if len(made.sizes) in made.kill_at:
            made.kill_at.clear()
            raise Killed
        made.sizes.append(len(prompts))
        return real(model, tokenizer, prompts, *arguments, **named)

    monkeypatch.setattr(sampling, "decode_batch", decode)
    return made

"""Short runs that are watched, and the files that they read."""

from dataclasses import replace

from lorapar_cli.names import System
from lorapar_cli.store.records import Record, write_records
from tests.training.training_runs import RL, SFT

WATCHED = {
    "forgetting": True,
    "eval_max_new_tokens": 4,
    "eval_batch_size": 3,
}


def short(options, folder, **changes):
    """Returns options of a watched run on a neutral text of a few tokens."""
    text = folder / "neutral.txt"
    text.write_text("The sun rose over the hills. " * 4)
    return replace(options, **(WATCHED | {"neutral": text} | changes))


def sft(folder, **changes):
    """Returns options of a watched SFT of 6 steps, with dropout: random numbers are drawn."""
    return short(SFT, folder, max_steps=6, lora_dropout=0.1, **changes)


def rl(folder, **changes):
    """Returns options of a watched GRPO of 4 steps from the adapter as scored."""
    return short(RL, folder, max_steps=4, from_="init", **changes)


def write_validation(folder, same=()):
    """Writes records of both systems that no stage trains on; returns their file.

    Args:
        same: Prompts to take instead.
    """
    records = [
        Record(
            f"v{n}",
            same[n] if n < len(same) else f"What is {n} times 7?",
            f"#### {7 * n}",
            str(7 * n),
            [System.SYSTEM1, System.SYSTEM2][n % 2],
        )
        for n in range(6)
    ]
    path = folder / "validation.jsonl"
    write_records(path, records)
    return str(path)

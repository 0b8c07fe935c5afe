"""`python -m lorapar_cli.embedded`: rebuilds the corpus, the test set and the base model."""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from lorapar_cli.embedded import corpus
from lorapar_cli.plurals import counted


def main(arguments: list[str] | None = None) -> int:
    """Runs one subcommand; returns the exit code."""
    chosen = _parser().parse_args(arguments)
    return chosen.run(chosen)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lorapar_cli.embedded", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    make = commands.add_parser("corpus", help="write the demo's training records")
    make.add_argument("--out", type=Path, required=True, help="folder for train.jsonl, test.jsonl")
    make.add_argument(
        "--seed", type=int, default=0, help="seed of the training records (default 0)"
    )
    make.add_argument(
        "--per-system",
        type=int,
        default=corpus.TRAIN_PER_SYSTEM,
        help=f"training records per system (default {corpus.TRAIN_PER_SYSTEM})",
    )
    make.set_defaults(run=_write_corpus)

    test = commands.add_parser("test-set", help="write the held-out test set")
    test.add_argument("--out", type=Path, required=True, help="JSON Lines file to write")
    test.add_argument(
        "--seed",
        type=int,
        default=corpus.TEST_SEED,
        help=f"seed of the reserved records (default {corpus.TEST_SEED})",
    )
    test.set_defaults(run=_write_test_set)

    model = commands.add_parser(
        "model", help="train the tokenizer and the base model (takes minutes)"
    )
    model.add_argument("--out", type=Path, required=True, help="new or empty folder")
    model.add_argument("--seed", type=int, default=0, help="first seed to try (default 0)")
    model.add_argument("--steps", type=int, help="maximum steps of phase A (default: the recipe's)")
    model.add_argument("--web-steps", type=int, help="steps of phase B (default: the recipe's)")
    model.add_argument("--attempts", type=int, default=3, help="number of seeds to try (default 3)")
    model.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    model.set_defaults(run=_make_model)
    return parser


def _write_corpus(chosen: argparse.Namespace) -> int:
    chosen.out.mkdir(parents=True, exist_ok=True)
    train = corpus.training_records(chosen.seed, chosen.per_system)
    _write_records(chosen.out / "train.jsonl", train)
    _write_records(chosen.out / "test.jsonl", corpus.held_out_records())
    return 0


def _write_test_set(chosen: argparse.Namespace) -> int:
    records = corpus.held_out_records(chosen.seed)
    if chosen.seed != corpus.TEST_SEED:
        shipped = {corpus.normalise(record["question"]) for record in corpus.held_out_records()}
        records = [r for r in records if corpus.normalise(r["question"]) not in shipped]
    _write_records(chosen.out, records)
    return 0


def _make_model(chosen: argparse.Namespace) -> int:
    if chosen.out.exists() and any(chosen.out.iterdir()):
        _say(f"error: `{chosen.out}` is not empty\n\nhint: name a new folder")
        return 1
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    from lorapar_cli.embedded import recipe

    torch.set_num_threads(chosen.threads)
    given = {"seed": chosen.seed, "clean_steps": chosen.steps, "web_steps": chosen.web_steps}
    settings = recipe.Recipe(**{k: v for k, v in given.items() if v is not None})
    recipe.make(settings, chosen.out, _say, chosen.attempts)
    return 0


def _write_records(path: Path, records: Iterable[corpus.Record]) -> None:
    lines = [json.dumps(record) + "\n" for record in records]
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(lines), encoding="utf-8")
    partial.replace(path)
    _say(f"{counted(len(lines), 'record')} in `{path}`")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

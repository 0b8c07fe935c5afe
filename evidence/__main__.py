"""`python -m evidence STUDY ...`: measures what is not finished yet, and writes `docs/results/`."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "docs" / "results"
WORK = Path(".evidence")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    chosen = _parser().parse_args(arguments)
    if chosen.study != "real":
        # A model this small gains nothing from more threads, and one rounds the same everywhere.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from lorapar_cli.errors import LoraparError

    try:
        chosen.run(chosen)
    except LoraparError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def say(text: str) -> None:
    """Prints a line of progress."""
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evidence", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="STUDY")
    for name, (run, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--work", type=Path, default=WORK, help=f"default {WORK}")
        command.add_argument("--out", type=Path, default=RESULTS, help="default docs/results")
        command.add_argument("--only", default="", metavar="UNITS", help="comma-separated")
        command.add_argument("--jobs", type=int, default=1, help="trainings side by side")
        command.add_argument("--data", type=Path, help="folder of public data, for `real`")
        command.set_defaults(run=run, study=name)
    page = commands.add_parser("page", help="write docs/results.md and the README's block")
    page.set_defaults(run=_page, study="page")
    return parser


def _embedded(chosen: argparse.Namespace) -> None:
    from evidence.embedded import Size, embedded_study
    from evidence.studies import run_study

    stage = chosen.study.partition("-")[2]
    study = embedded_study(stage, chosen.work, Size(), chosen.jobs, say)
    run_study(study, chosen.work, chosen.out, say, _only(chosen))


def _authors(chosen: argparse.Namespace) -> None:
    from evidence.authors import Size, authors_study
    from evidence.studies import run_study

    study = authors_study(chosen.work, Size(), say)
    run_study(study, chosen.work, chosen.out, say, _only(chosen))


def _replay(chosen: argparse.Namespace) -> None:
    from evidence.replay import Size, recipes_study, replay_study
    from evidence.studies import run_study

    make = replay_study if chosen.study == "replay" else recipes_study
    study = make(chosen.work, Size(), chosen.jobs, say)
    run_study(study, chosen.work, chosen.out, say, _only(chosen))


def _curve(chosen: argparse.Namespace) -> None:
    from evidence.curve import curve_study
    from evidence.studies import run_study

    study = curve_study(chosen.work, 2000, 200, say)
    run_study(study, chosen.work, chosen.out, say, _only(chosen))


def _real(chosen: argparse.Namespace) -> None:
    from evidence.real import data, model, noise, training
    from evidence.studies import run_study
    from lorapar_cli.errors import LoraparError

    folder = data.require_data(chosen.data)
    base = model.real_model(chosen.work / "cache", say)
    about = {"inputs": {"model": model.WEIGHTS_SHA256, **data.digests(folder)}}
    studies = (
        noise.noise_study(chosen.work, base, folder, noise.Size(), say, **about),
        training.training_study(
            chosen.work, base, folder, training.Size(), chosen.jobs, say, **about
        ),
    )
    units = {unit.name: study for study in studies for unit in study.units}
    if unknown := [name for name in _only(chosen) if name not in units]:
        raise LoraparError(f"there is no unit `{unknown[0]}`", hint=f"units: {', '.join(units)}")
    for study in studies:
        only = [name for name in _only(chosen) if units[name] is study]
        if only or not chosen.only:
            run_study(study, chosen.work, chosen.out, say, only)


def _tables(chosen: argparse.Namespace) -> None:
    from evidence.paper_tables import tables_study
    from evidence.studies import run_study

    study = tables_study(chosen.work, 3, chosen.jobs, say)
    run_study(study, chosen.work, chosen.out, say, _only(chosen))


def _page(_: argparse.Namespace) -> None:
    from evidence.page.write import write_docs

    write_docs()


def _only(chosen: argparse.Namespace) -> list[str]:
    return [name for name in chosen.only.split(",") if name]


COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], None], str]] = {
    "embedded-sft": (_embedded, "rule x budget in SFT, embedded model"),
    "embedded-rl": (_embedded, "rule x budget in RL, embedded model"),
    "authors": (_authors, "five faults of the published script, embedded model"),
    "replay": (_replay, "splitter x replay after both stages, embedded model"),
    "recipes": (_replay, "recipes against each other after both stages, embedded model"),
    "tables": (_tables, "the paper's tables, embedded model"),
    "real": (_real, "noise, controls and SFT on a real model of 135 million parameters"),
    "curve": (_curve, "share of elements by theta, and random gradients"),
}

if __name__ == "__main__":
    sys.exit(main())

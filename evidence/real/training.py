"""Does the mask pay on the real model: SFT at two budgets, with ARC's choices and forgetting."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evidence import runs
from evidence.comparisons import Asked, kept, run_comparison
from evidence.real.data import SENTENCE, Row, options_of_question, read_rows
from evidence.real.noise import mixed_rows
from evidence.studies import Study, Unit
from lorapar_cli.comparison.cells import PAPER, RANDOM
from lorapar_cli.comparison.grid import open_grid
from lorapar_cli.comparison.measure import Bench
from lorapar_cli.comparison.options import CompareOptions
from lorapar_cli.comparison.report.estimators import holm, mean_difference
from lorapar_cli.comparison.report.results import Comparison
from lorapar_cli.comparison.trials import Trial, trial_folder
from lorapar_cli.models.base_model import find_base_model, free_memory, load_tokenizer
from lorapar_cli.models.choices import score_choices
from lorapar_cli.models.measuring.forgetting import NEUTRAL_TEXT
from lorapar_cli.models.rendering.chat_template import ChatTemplate, read_arguments
from lorapar_cli.models.rendering.tokenization import encode_prompt
from lorapar_cli.names import Artifact, Stage, System
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.score import score
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.disk.regular_files import read_json
from lorapar_cli.store.run_dir import RunDir

Say = Callable[[str], None]
BUDGETS = {"2%": 5e-3, "36%": 1e-3}
"""Budget of each system's set -> rate that the search starts from."""


@dataclass(frozen=True)
class Size:
    """How much is trained and measured; the tests have a smaller one.

    Attributes:
        train: Records, half of each system.
        measured: Held-out records of ARC, BoolQ and GSM8K.
        choices: Questions of ARC's test part whose options are compared by likelihood.
        neutral: Characters of the neutral text.
    """

    train: int = 600
    samples: int = 100
    seeds: int = 3
    max_rates: int = 4
    steps: int = 12
    batch: int = 8
    measured: tuple[int, int, int] = (30, 30, 40)
    choices: int = 100
    neutral: int = 8000
    max_new_tokens: int = 16
    movement_steps: int = 8
    built_in: tuple[str, ...] = (PAPER, RANDOM, "full")
    budgets: tuple[str, ...] = tuple(BUDGETS)

    def settings(self) -> dict[str, Any]:
        """Returns what decides results."""
        return {key: value for key, value in vars(self).items() if key != "budgets"}

    def own(self) -> dict[str, Any]:
        """Returns the cell of the rule that did best on the embedded model."""
        scoring = {"rule": "movement", "movement_s2": "sft", "movement_steps": self.movement_steps}
        return {"movement": {"score": scoring}} if self.movement_steps else {}


def measured_rows(data: Path, size: Size) -> list[Row]:
    """Returns the records to measure on; none is among those that a run trains on."""
    arc, boolq, math = size.measured
    return [
        *read_rows(data, "arc/challenge_test.json")[:arc],
        # BoolQ's only file: its last ones, where training takes the first.
        *read_rows(data, "boolq/train.json")[-boolq:],
        *read_rows(data, "gsm8k/test.jsonl")[:math],
    ]


def training_study(
    work: Path, model: Path, data: Path, size: Size, jobs: int, say: Say, **about: Any
) -> Study:
    """Returns the study; a unit for each budget, of which `jobs` trainings run side by side."""
    root = work / "real-training"

    def unit(budget: str) -> Unit:
        def measure(folder: Path) -> Mapping[str, Any]:
            run = _scored_run(root / "run", model, data, size)
            asked = _asked(run, root, data, budget, size, jobs)
            comparison = run_comparison(asked, folder, say)
            say("  choices of ARC")
            choices = _choices(asked, folder, comparison, model, data, size)
            return kept(comparison) | {"choices": choices}

        return Unit(budget.replace("%", ""), size.settings() | {"budget": budget}, measure)

    return Study(
        "real-training",
        "Real model, SFT: does the mask pay?",
        "make real DATA=folder",
        list(range(1, size.seeds + 1)),
        [unit(budget) for budget in size.budgets],
        {"records trained on": size.steps * size.batch, "labels": "by source"},
        **about,
    )


def _scored_run(root: Path, model: Path, data: Path, size: Size) -> RunDir:
    run = RunDir(root)
    rows = mixed_rows(data, size.train)
    file = runs.write_lines(root / "records.jsonl", rows)
    runs.label(run, file, rows, runs.TRUTH, str(model))
    score(run, ScoreOptions(samples=size.samples))
    return run


def _asked(run: RunDir, root: Path, data: Path, budget: str, size: Size, jobs: int) -> Asked:
    neutral = root / "neutral.txt"
    with atomic_file(neutral) as file:
        file.write(NEUTRAL_TEXT.read_text(encoding="utf-8")[: size.neutral])
    options = CompareOptions(
        stage="sft",
        seeds=size.seeds,
        max_rates=size.max_rates,
        data=str(runs.write_lines(root / "measured.jsonl", measured_rows(data, size))),
        neutral=neutral,
        validation=0.1,
        max_new_tokens=size.max_new_tokens,
        batch_size=16,
        jobs=jobs,
    )
    sections = {
        "partition": {"budget_s1": budget, "budget_s2": budget},
        "train-sft": {
            "learning_rate": BUDGETS[budget],
            "scheduler": "linear",
            "per_device_batch_size": size.batch,
            "gradient_accumulation": 1,
            "max_steps": size.steps,
        },
    }
    return Asked(run, options, sections, size.built_in, size.own())


def _choices(
    asked: Asked, folder: Path, comparison: Comparison, model: Path, data: Path, size: Size
) -> dict[str, Any]:
    """Returns how often the likeliest option of ARC is the right one, by cell, and differences."""
    grid = open_grid(asked.run, asked.written(folder))
    bench = Bench(grid)
    questions = read_rows(data, "arc/challenge_test.json")
    asked_of = questions[size.measured[0] :][: size.choices]
    items, right = _items(model, asked.run, asked_of)
    tokenizer = load_tokenizer(find_base_model(str(model), False), False)

    def answers(adapter: Path | None, kept_in: Path) -> list[int]:
        if kept_in.is_file():
            return list(read_json(kept_in))
        loaded = bench.load(adapter)
        found = []
        for item, place in zip(items, right, strict=True):
            (scores,) = score_choices(loaded, tokenizer, [item], bench.base.max_length)
            found.append(int(max(range(len(scores)), key=scores.__getitem__) == place))
        del loaded
        free_memory()
        with atomic_file(kept_in) as file:
            file.write(str(found))
        return found

    base = answers(None, folder / "choices-base.json")
    by_cell: dict[str, list[list[int]]] = {}
    for row in comparison["cells"]:
        if "diverged" in row:
            continue
        by_cell[row["cell"]] = []
        for seed in row["seeds"]:
            trial = Trial(row["cell"], Stage.TRAIN_SFT, row["learning_rate"], seed, search=False)
            adapter = trial_folder(grid, trial) / "trained" / Artifact.ADAPTER
            kept_in = folder / f"choices-{row['cell']}-{seed}.json"
            by_cell[row["cell"]].append(answers(adapter, kept_in))
    return {
        "questions": len(items),
        "base": sum(base) / len(base),
        "accuracy": {
            name: sum(map(sum, seeds)) / sum(map(len, seeds)) for name, seeds in by_cell.items()
        },
        "differences": _differences(by_cell),
    }


def _items(
    model: Path, run: RunDir, rows: list[Row]
) -> tuple[list[list[tuple[list[int], list[int]]]], list[int]]:
    """Returns each question's prompt with each of its options, and the place of the right one."""
    template = ChatTemplate(
        run.template(Stage.SCORE), read_arguments(run.template_arguments(Stage.SCORE))
    )
    tokenizer = load_tokenizer(find_base_model(str(model), False), False, template)
    items, right = [], []
    for row in rows:
        prompt = encode_prompt(tokenizer, row["prompt"])
        names = [f"answer{n}" for n in range(1, len(options_of_question(row["prompt"])) + 1)]
        right.append(names.index(row["reference_answer"]))
        items.append(
            [
                (prompt, tokenizer(SENTENCE.format(name), add_special_tokens=False)["input_ids"])
                for name in names
            ]
        )
    return items, right


def _differences(by_cell: Mapping[str, list[list[int]]]) -> list[dict[str, Any]]:
    pairs = [
        (name, against)
        for against in (RANDOM, "full")
        for name in by_cell
        if name not in (RANDOM, "full") and against in by_cell
    ]
    rows, p_values = [], []
    for name, against in pairs:
        columns = [
            [float(a - b) for a, b in zip(first, second, strict=True)]
            for first, second in zip(by_cell[name], by_cell[against], strict=True)
        ]
        found = mean_difference(list(zip(*columns, strict=True)))
        p_values.append(found.p_value)
        row = {"cell": name, "against": against, "measure": "ARC choices"}
        row |= {"system": System.SYSTEM1.value, "difference": found.difference}
        rows.append(row | {"low": found.low, "high": found.high})
    return [row | {"p_holm": p} for row, p in zip(rows, holm(p_values), strict=True)]

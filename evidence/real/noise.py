"""Is the partition above sampling noise: by splitter, by number of samples, and with controls."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evidence import runs
from evidence.curve import curve_rows
from evidence.curve_published import THETAS
from evidence.real.data import Row, as_system, in_a_sentence, in_words, read_rows
from evidence.studies import Study, Unit
from lorapar_cli.names import Stage, System, split_file
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.score import score
from lorapar_cli.stage_records.score import ScoreRecord
from lorapar_cli.store.run_dir import RunDir

Say = Callable[[str], None]
_ARC, _BOOLQ, _MATH = "arc/challenge_train.json", "boolq/train.json", "gsm8k/train.jsonl"

# Halves of a system's samples are compared; fewer records than this are no system.
_FEWEST = 4


@dataclass(frozen=True)
class Size:
    """How much is scored; the tests have a smaller one."""

    samples: tuple[int, ...] = (12, 24, 50, 100)
    control_samples: tuple[int, ...] = (50, 100)
    mixed: int = 600
    splitters: tuple[str, ...] = ("truth", "rules", "student", "rules, GSM8K alone")
    r: int = 8

    @property
    def largest(self) -> int:
        """Records of each system that a control needs."""
        return max((*self.samples, *self.control_samples))


def mixed_rows(data: Path, count: int) -> list[Row]:
    """Returns as many records of one step (half ARC, half BoolQ) as of many (GSM8K)."""
    quarter = count // 4
    parts = [(_ARC, quarter), (_BOOLQ, quarter), (_MATH, 2 * quarter)]
    return [row for name, size in parts for row in read_rows(data, name)[:size]]


def control_rows(data: Path, control: str, each: int) -> list[Row]:
    """Returns the records of a control, of which each system gets `each`.

    No question is in both systems.
    """
    arc, math = read_rows(data, _ARC), read_rows(data, _MATH)
    first, second = {
        "same kind, same form": (arc[:each], arc[each : 2 * each]),
        "same kind, other form": (arc[:each], [in_words(row) for row in arc[each : 2 * each]]),
        "other kind, same form": (arc[:each], [in_a_sentence(row) for row in math[:each]]),
        "many steps, with and without working": (
            [in_a_sentence(row) for row in math[:each]],
            math[each : 2 * each],
        ),
    }[control]
    return [*as_system(first, System.SYSTEM1), *as_system(second, System.SYSTEM2)]


CONTROLS = (
    "same kind, same form",
    "same kind, other form",
    "other kind, same form",
    "many steps, with and without working",
)


def labelled_run(root: Path, rows: Sequence[Row], splitter: str, model: Path) -> RunDir:
    """Returns a run directory in which `classify` has finished."""
    run = RunDir(root)
    data = runs.write_lines(root / "records.jsonl", rows)
    runs.label(run, data, rows, splitter, str(model))
    return run


def measure_noise(run: RunDir, samples: int, r: int, out: Path) -> dict[str, Any]:
    """Returns what `score` says of sampling noise, and how many samples it had."""
    outcome = score(run, ScoreOptions(samples=samples, r=r, out=out))
    record = outcome.manifest.record(ScoreRecord)
    return {
        **record.metrics["noise"],
        "samples_by_system": record.counts["samples"],
        "too_long": record.counts["too_long"],
    }


def agreement(run: RunDir, rows: Sequence[Row]) -> dict[str, Any]:
    """Returns how many records a splitter puts where, and the share that agrees with the source."""
    from lorapar_cli.store.records import read_records

    source = {row["id"]: row["label"] for row in rows}
    sizes: dict[str, int] = {}
    right = 0
    for system in System:
        records = read_records(run.folder(Stage.CLASSIFY) / split_file(system))
        sizes[system.value] = len(records)
        right += sum(source[record.id] == system.value for record in records)
    return {"sizes": sizes, "as_source": right / max(sum(sizes.values()), 1)}


def noise_study(work: Path, model: Path, data: Path, size: Size, say: Say, **about: Any) -> Study:
    """Returns the study; a unit for each splitter or control and number of samples."""
    root = work / "real-noise"

    def split_unit(splitter: str, samples: int) -> Unit:
        def measure(folder: Path) -> Mapping[str, Any]:
            rows = mixed_rows(data, size.mixed)
            if splitter.endswith("alone"):
                rows = read_rows(data, _MATH)[: size.mixed]
            by = splitter.partition(",")[0]
            run = labelled_run(root / f"run-{splitter.replace(', ', '-')}", rows, by, model)
            found = {"splitter": splitter, "asked": samples, **agreement(run, rows)}
            if min(found["sizes"].values()) < _FEWEST:
                return found | {"verdict": "no split"}
            return found | _scored(run, samples, size.r, folder)

        return Unit(_name(splitter, samples), {**_of(size), "splitter": splitter}, measure)

    def control_unit(control: str, samples: int) -> Unit:
        def measure(folder: Path) -> Mapping[str, Any]:
            rows = control_rows(data, control, size.largest)
            run = labelled_run(root / f"run-{_name(control, 0)}", rows, runs.TRUTH, model)
            return {"control": control} | _scored(run, samples, size.r, folder)

        return Unit(_name(control, samples), {**_of(size), "control": control}, measure)

    def curve_unit() -> Unit:
        samples = max(size.samples)

        def measure(folder: Path) -> Mapping[str, Any]:
            run = labelled_run(root / "run-truth", mixed_rows(data, size.mixed), runs.TRUTH, model)
            score(run, ScoreOptions(samples=samples, r=size.r, out=folder / "score"))
            rows = curve_rows(folder / "score", samples)
            shutil.rmtree(folder / "score")
            return {"thetas": THETAS, "rows": rows}

        return Unit("curve", _of(size), measure)

    units = [split_unit(each, n) for each in size.splitters for n in size.samples]
    units += [control_unit(each, n) for each in CONTROLS for n in size.control_samples]
    return Study(
        "real-noise",
        "Real model: is the partition above sampling noise?",
        "make real DATA=folder",
        [0],
        [*units, curve_unit()],
        {"theta": 0.9, "r": size.r, "records that splitters label": size.mixed},
        **about,
    )


def _of(size: Size) -> dict[str, Any]:
    return {"mixed": size.mixed, "r": size.r, "largest": size.largest}


def _name(what: str, samples: int) -> str:
    words = what.replace(",", "").replace(" ", "-")
    return f"{words}-{samples}" if samples else words


def _scored(run: RunDir, samples: int, r: int, folder: Path) -> dict[str, Any]:
    """Returns the noise of a run's scores, whose files are not kept."""
    found = measure_noise(run, samples, r, folder / "score")
    shutil.rmtree(folder / "score")
    return found | {"asked": samples}

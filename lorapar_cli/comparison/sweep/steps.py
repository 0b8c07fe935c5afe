"""From a cell to its steps: runs of stages, each named after everything that it depends on.

Cells whose first stages have the same settings have the same steps, which run once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lorapar_cli import __version__
from lorapar_cli.comparison.cells import as_option_value
from lorapar_cli.comparison.naming import digests_of_files, find_folder
from lorapar_cli.comparison.sweep.axes import OPTIONS, PEFT_METHODS
from lorapar_cli.comparison.sweep.cells import Cell
from lorapar_cli.errors import UsageError
from lorapar_cli.models.weights_digest import local_revision
from lorapar_cli.names import Stage
from lorapar_cli.options import Options, fill_defaults, options_of
from lorapar_cli.training.options import SftOptions, deciding

TRAIN_PEFT = "train-peft"
"""Kind of a step that PEFT trains; the others are named after their stages."""
START, ADAPTER = "start", "adapter"
TWICE = "sft-sft"


@dataclass(frozen=True)
class Step:
    """One run of a stage.

    Attributes:
        kind: A stage, or `train-peft`.
        settings: Options of the stage that differ from their defaults, as JSON.
        needs: Stage, `start` or `adapter` -> key of the step whose result is read.
        method: Of `train-peft`, with its number of virtual tokens.
        key: Name of its folder.
        depends: Everything that its result depends on.
    """

    kind: str
    settings: Mapping[str, Any]
    needs: Mapping[str, str]
    key: str
    method: Mapping[str, Any] = field(default_factory=dict)
    depends: Mapping[str, Any] = field(default_factory=dict)

    def options(self) -> Options:
        """Returns the options of the stage."""
        return read_options(_options_class(self.kind), self.settings)


@dataclass(frozen=True)
class CellSteps:
    """The steps of a cell.

    Attributes:
        steps: In an order in which they can run.
        partition: Key of the partition whose sets are shown; None without one.
        trained: Keys of the trainings, in order.
        evaluated: `base`, `first`, `second` -> key of the evaluation.
    """

    cell: Cell
    steps: tuple[Step, ...]
    partition: str | None
    trained: tuple[str, ...]
    evaluated: Mapping[str, str]


def _options_class(kind: str) -> type[Options]:
    return SftOptions if kind == TRAIN_PEFT else OPTIONS[Stage(kind)]


def read_options(kind: type[Options], settings: Mapping[str, Any]) -> Any:
    """Returns options from values of JSON."""
    kinds = {each.name: each.kind for each in options_of(kind)}
    return kind(**{name: as_option_value(kinds[name], each) for name, each in settings.items()})


def steps_of(cell: Cell, root: Path, *, code: bool, trust: bool) -> CellSteps:
    """Returns the steps of a cell.

    Args:
        root: Folder of the steps' folders, where those that another version made are found.
        code: Whether generated programs may run.
        trust: Whether code of the model's repository may run.

    Raises:
        UsageError: Settings that do not fit together.
    """
    return _Builder(cell, root, code, trust).build()


_TRAINING = (Stage.TRAIN_SFT, Stage.TRAIN_RL)


class _Builder:
    def __init__(self, cell: Cell, root: Path, code: bool, trust: bool) -> None:
        self._root = root
        self._cell, self._code, self._trust = cell, code, trust
        self._steps: dict[str, Step] = {}
        self._scored: str | None = None

    def build(self) -> CellSteps:
        cell = self._cell
        trained: list[str] = []
        evaluated: dict[str, str] = {}
        partition = None
        if cell.method in PEFT_METHODS:
            self._require_plain_sft()
            splits = self._classify()
            for number, _ in enumerate(_phases(cell.order), 1):
                trained.append(self._train_peft(splits, number))
        elif cell.method != "base":
            scored = self._scored = self._score(self._classify())
            for number, stage in enumerate(_phases(cell.order), 1):
                # Twice SFT is one training of twice the length, beside the shorter one.
                longer = number if cell.order == TWICE else 1
                start = trained[-1] if trained and longer == 1 else None
                trained.append(self._train(stage, scored, start, longer))
            if cell.method == "lora-par":
                # The two sets are the same whatever share of them a stage makes active.
                partition = (
                    self._steps[trained[0]].needs[Stage.PARTITION]
                    if trained
                    else self._partition(scored, {"alpha": 1.0, "beta": 1.0})
                )
        if trained or cell.method == "base":
            evaluated["base"] = self._evaluate(None)
        for name, key in zip(("first", "second"), trained, strict=False):
            evaluated[name] = self._evaluate(key)
        needed = self._reached([*trained, *evaluated.values(), *([partition] if partition else [])])
        return CellSteps(cell, needed, partition, tuple(trained), evaluated)

    def _require_plain_sft(self) -> None:
        """Refuses what PEFT's methods are not trained with here."""
        method, section = self._cell.method, self._cell.section(Stage.TRAIN_SFT)
        if "rl" in self._cell.order:
            raise UsageError(
                f"`{method}` is trained by SFT only",
                f"`order` is {self._cell.order}",
                "give `order: sft`, or `order: sft-sft` for two epochs",
            )
        if named := [name for name in ("replay", "quantize") if section.get(name)]:
            raise UsageError(
                f"`{method}` is trained without `{named[0]}`", hint="omit it in `train-sft`"
            )

    def _reached(self, wanted: list[str]) -> tuple[Step, ...]:
        """Returns the steps that something wanted depends on, in the order of their making."""
        found: set[str] = set()
        while wanted:
            step = self._steps[wanted.pop()]
            if step.key not in found:
                found.add(step.key)
                wanted += step.needs.values()
        return tuple(step for key, step in self._steps.items() if key in found)

    def _add(
        self,
        kind: str,
        options: Options,
        needs: Mapping[str, str],
        *,
        depends: Mapping[str, Any] | None = None,
        method: Mapping[str, Any] | None = None,
    ) -> str:
        """Enters a step and returns its key.

        Args:
            depends: What the result depends on besides recorded settings and needs.
        """
        identity = {
            "lorapar": __version__,
            "settings": _kept(kind, options.settings()),
            "needs": dict(needs),
            "method": method or {},
            "depends": depends or {},
            "files": digests_of_files(options),
        }

        def filled(then: dict[str, Any]) -> dict[str, Any]:
            """Returns what a step of any version depends on, as this version would record it."""
            stated = _kept(kind, fill_defaults(then["settings"], type(options)))
            return then | {"settings": stated, "lorapar": None}

        key = find_folder(self._root, identity, filled, f"{kind}-").name
        settings = {
            each.name: getattr(options, each.name)
            for each in options_of(type(options))
            if getattr(options, each.name) != each.default
        }
        self._steps[key] = Step(kind, settings, dict(needs), key, method or {}, identity)
        return key

    def _options(self, stage: Stage, **own: Any) -> Any:
        stated = dict(self._cell.section(stage)) | own
        if stage in _TRAINING and "watch" not in stated:
            # The evaluation that follows measures the same of the same adapter.
            stated.setdefault("forgetting", False)
        for each in options_of(OPTIONS[stage]):
            # 1 and 1.0 are the same setting, and must have the same name.
            if each.kind is float and isinstance(stated.get(each.name), int):
                stated[each.name] = float(stated[each.name])
        return OPTIONS[stage](**stated)

    def _model(self) -> dict[str, Any]:
        return {"model": self._cell.model, "revision": local_revision(self._cell.model)}

    def _classify(self) -> str:
        section = self._cell.section(Stage.CLASSIFY)
        if not section.get("data"):
            raise UsageError("there is no data", hint="add `classify: {data: FILE}`")
        own: dict[str, Any] = {"model": self._cell.model, "trust_remote_code": self._trust}
        if section.get("strategy") == "random" and "review" not in section:
            own["seed"] = self._cell.seed
        options = self._options(Stage.CLASSIFY, **own)
        depends = {
            "data": list(options.data),
            "teachers": list(options.teachers),
            "description": options.student_description,
            **self._model(),
        }
        return self._add(Stage.CLASSIFY, options, {}, depends=depends)

    def _score(self, splits: str) -> str:
        own: dict[str, Any] = {
            "model": self._cell.model,
            "seed": self._cell.seed,
            "trust_remote_code": self._trust,
        }
        if self._cell.method == "lora":
            # Nothing is selected: the stage only makes the adapter, whatever its init.
            own |= {"rule": "random", "formula": "taylor2"}
            kept = self._cell.section(Stage.SCORE)
            own |= {
                each.name: each.default
                for each in options_of(OPTIONS[Stage.SCORE])
                if each.name.startswith("movement_") and each.name in kept
            }
        options = self._options(Stage.SCORE, **own)
        depends = {"template_arg": list(options.template_arg), **self._model()}
        return self._add(Stage.SCORE, options, {Stage.CLASSIFY: splits}, depends=depends)

    def _partition(self, scored: str, own: Mapping[str, Any]) -> str:
        section = self._cell.section(Stage.PARTITION)
        seed = self._cell.seed if section.get("select") == "random" else 0
        options = self._options(Stage.PARTITION, seed=seed, **own)
        return self._add(Stage.PARTITION, options, {Stage.SCORE: scored})

    def _train(self, stage: Stage, scored: str, start: str | None, longer: int) -> str:
        splits = self._steps[scored].needs[Stage.CLASSIFY]
        needs: dict[str, str] = {Stage.CLASSIFY: splits, Stage.SCORE: scored}
        if self._cell.method == "lora-par":
            # A stage depends on its own share of the shared elements only, so that cells which
            # differ in the other one share it.
            other = "beta" if stage is Stage.TRAIN_SFT else "alpha"
            needs[Stage.PARTITION] = self._partition(scored, {other: 1.0})
        if start is not None:
            needs[START] = start
        own: dict[str, Any] = {"seed": self._cell.seed, "trust_remote_code": self._trust}
        if stage is Stage.TRAIN_RL:
            own["allow_code_execution"] = self._code
        return self._add(stage, _lengthen(self._options(stage, **own), longer), needs)

    def _train_peft(self, splits: str, longer: int) -> str:
        score = self._options(Stage.SCORE)
        rendering = {"template": score.template, "template_arg": score.template_arg}
        options = self._options(
            Stage.TRAIN_SFT,
            model=self._cell.model,
            seed=self._cell.seed,
            trust_remote_code=self._trust,
            **{name: each for name, each in rendering.items() if each},
        )
        method: dict[str, Any] = {"name": self._cell.method}
        if self._cell.method != "ia3":
            method["virtual_tokens"] = self._cell.virtual_tokens
        depends = {"template_arg": list(score.template_arg), **self._model()}
        return self._add(
            TRAIN_PEFT,
            _lengthen(options, longer),
            {Stage.CLASSIFY: splits},
            depends=depends,
            method=method,
        )

    def _evaluate(self, trained: str | None) -> str:
        options = self._options(
            Stage.EVAL,
            model=self._cell.model,
            name="result",
            allow_code_execution=self._code,
            trust_remote_code=self._trust,
        )
        needs: dict[str, str] = {}
        if trained is not None:
            needs[ADAPTER] = trained
        if trained is not None and self._steps[trained].kind != TRAIN_PEFT:
            needs[Stage.SCORE] = self._steps[trained].needs[Stage.SCORE]
        elif trained is None and self._scored is not None and self._has_template():
            needs[Stage.SCORE] = self._scored
        if options.task == "data" and options.data is None:
            needs[Stage.CLASSIFY] = self._held_out(trained)
        depends = {
            "data": options.data,
            "dtype": options.dtype,
            "backend": options.backend,
            "template_arg": list(options.template_arg),
            **self._model(),
        }
        return self._add(Stage.EVAL, options, needs, depends=depends)

    def _has_template(self) -> bool:
        section = self._cell.section(Stage.SCORE)
        return bool(section.get("template") or section.get("template_arg"))

    def _held_out(self, trained: str | None) -> str:
        """Returns the labelled records, some of which are held out."""
        if self._cell.section(Stage.CLASSIFY).get("holdout") == 0:
            raise UsageError(
                "there is nothing to evaluate on",
                "`classify` holds out no records, and `eval` names none",
                "add `eval: {data: FILE}` or another task",
            )
        return self._classify() if trained is None else self._steps[trained].needs[Stage.CLASSIFY]


def _lengthen(options: Any, factor: int) -> Any:
    """Returns the options of a training that is longer by a factor."""
    if options.max_steps > 0:
        return replace(options, max_steps=options.max_steps * factor)
    return replace(options, epochs=options.epochs * factor)


def _kept(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings that the result of a step depends on."""
    return deciding(settings) if kind.startswith("train") else settings


def _phases(order: str) -> list[Stage]:
    if order == "none":
        return []
    return [Stage.TRAIN_SFT if part == "sft" else Stage.TRAIN_RL for part in order.split("-")]

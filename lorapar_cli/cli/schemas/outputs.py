"""What each command prints with `--json`, as types, and the JSON schemas made of them."""

import typing
from dataclasses import dataclass
from typing import Any, TypedDict

from lorapar_cli.cli.commands.start.init import InitOutput
from lorapar_cli.cli.commands.start.recipes import RecipesOutput
from lorapar_cli.cli.commands.teachers import TeacherRow
from lorapar_cli.cli.console import OUTPUT_VERSION
from lorapar_cli.cli.schemas.from_types import Definitions, Schema
from lorapar_cli.comparison.report.results import Comparison
from lorapar_cli.comparison.sweep.results import SweepResult
from lorapar_cli.evaluation.review.pair import PairedEvaluations
from lorapar_cli.evaluation.review.show import ShownSamples
from lorapar_cli.labelling.cost_estimate import CostEstimate
from lorapar_cli.names import Stage
from lorapar_cli.partition.partition import ThetaRow
from lorapar_cli.stage_records.classify import ClassifyRecord
from lorapar_cli.stage_records.evaluation import EvalRecord
from lorapar_cli.stage_records.partition import PartitionRecord
from lorapar_cli.stage_records.score import ScoreRecord
from lorapar_cli.stage_records.training import DryRunRecord, RlRecord, SftRecord
from lorapar_cli.store.manifest import Manifest
from lorapar_cli.tools.doctor import Finding
from lorapar_cli.tools.inspecting.artifact import Report
from lorapar_cli.tools.memory import ModelMemory
from lorapar_cli.tools.run_status import StageStatus


class DryRunCell(TypedDict):
    """A cell of a sweep: the stages that it is the first to have, and those that it shares."""

    cell: str
    runs: str
    shares: str


class Versions(TypedDict):
    """Versions of lorapar, Python, libraries, and the system."""

    lorapar: str
    python: str
    platform: str
    libraries: dict[str, str]


@dataclass(frozen=True)
class Output:
    """What one command prints.

    Attributes:
        command: As it is typed.
        kind: Its type; of a stage its record, which the manifest holds.
        many: Whether it is a list, each of whose entries has the version.
    """

    command: str
    kind: Any
    many: bool = False

    @property
    def name(self) -> str:
        """Its name among the definitions: `eval show` is `eval-show`."""
        return self.command.replace(" --", "-").replace(" ", "-").lstrip("-")


_RECORDS: dict[Stage, Any] = {
    Stage.CLASSIFY: ClassifyRecord,
    Stage.SCORE: ScoreRecord,
    Stage.PARTITION: PartitionRecord,
    Stage.TRAIN_SFT: SftRecord,
    Stage.TRAIN_RL: RlRecord,
    Stage.EVAL: EvalRecord,
}
_RECORD_TYPES = {*_RECORDS.values(), DryRunRecord}
OUTPUTS = (
    *(Output(stage.value, record) for stage, record in _RECORDS.items()),
    Output("classify --dry-run", CostEstimate),
    Output("partition --sweep", ThetaRow, many=True),
    Output("train-sft --dry-run", DryRunRecord),
    Output("train-rl --dry-run", DryRunRecord),
    Output("eval show", ShownSamples),
    Output("eval compare", PairedEvaluations),
    Output("compare", Comparison),
    Output("sweep", SweepResult),
    Output("sweep --dry-run", DryRunCell, many=True),
    Output("status", StageStatus, many=True),
    Output("inspect", Report),
    Output("teachers", TeacherRow, many=True),
    Output("doctor", Finding, many=True),
    Output("doctor --model", ModelMemory),
    Output("recipes", RecipesOutput),
    Output("init", InitOutput),
    Output("--version", Versions),
)


def output_schema() -> Schema:
    """Returns one schema whose `definitions` hold what each command prints, by `Output.name`."""
    definitions = Definitions()
    versioned = {output.name: _of_output(output, definitions) for output in OUTPUTS}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "What lorapar prints with --json",
        "definitions": {**versioned, **dict(sorted(definitions.found.items()))},
    }


def _of_output(output: Output, definitions: Definitions) -> Schema:
    if output.kind in _RECORD_TYPES:
        return _manifest(output.kind, definitions)
    members = typing.get_args(output.kind) or (output.kind,)
    schemas = [
        _with_version(definitions.record(each, typing.get_type_hints(each))) for each in members
    ]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"type": "array", "items": schema} if output.many else schema


def _manifest(record: Any, definitions: Definitions) -> Schema:
    """Returns the schema of a manifest that holds the record of a stage."""
    hints = typing.get_type_hints(Manifest)
    own = typing.get_type_hints(record)
    hints |= {"counts": own["counts"], "metrics": own["metrics"]}
    schema = definitions.record(Manifest, hints)
    for name in ("counts", "metrics"):
        # What the class says of them is for its readers in Python.
        del schema["properties"][name]["description"]
    return _with_version(schema)


def _with_version(schema: Schema) -> Schema:
    version = {"description": "Version of this output.", "enum": [OUTPUT_VERSION]}
    required = [name for name in schema["required"] if name != "schema"]
    return {
        **schema,
        "properties": {"schema": version, **schema["properties"]} | {"schema": version},
        "required": ["schema", *required],
    }

"""What each stage counts and measures: the keys of `counts` and `metrics` in its manifest.

A stage writes its record through `Manifest.keep` and everybody reads it through `Manifest.record`,
so that a key that nobody writes, or that a damaged manifest lacks, is found where it is read.
Standard library only.
"""

from lorapar_cli.stage_records.classify import (
    ClassifyCounts,
    ClassifyMetrics,
    ClassifyRecord,
    TeacherRow,
)
from lorapar_cli.stage_records.evaluation import (
    Accuracy,
    Difference,
    EvalCounts,
    EvalMetrics,
    EvalRecord,
    GroupAccuracies,
    ModelRow,
    PairRow,
    PassAtK,
    RuleAccuracies,
    SampledAccuracies,
)
from lorapar_cli.stage_records.mismatch import find_mismatch
from lorapar_cli.stage_records.partition import (
    PartitionCounts,
    PartitionMetrics,
    PartitionRecord,
    RegionRow,
    Regions,
)
from lorapar_cli.stage_records.score import Noise, NoiseVerdict, ScoreMetrics, ScoreRecord
from lorapar_cli.stage_records.training import (
    DryRunFigures,
    DryRunRecord,
    LaunchMetrics,
    MaskedElements,
    MovedElements,
    RlFigures,
    RlRecord,
    SftFigures,
    SftRecord,
    TrainedRecords,
    TrainedTokens,
    TrainingRecord,
)

__all__ = [
    "Accuracy",
    "ClassifyCounts",
    "ClassifyMetrics",
    "ClassifyRecord",
    "Difference",
    "DryRunFigures",
    "DryRunRecord",
    "EvalCounts",
    "EvalMetrics",
    "EvalRecord",
    "GroupAccuracies",
    "LaunchMetrics",
    "MaskedElements",
    "ModelRow",
    "MovedElements",
    "Noise",
    "NoiseVerdict",
    "PairRow",
    "PartitionCounts",
    "PartitionMetrics",
    "PartitionRecord",
    "PassAtK",
    "RegionRow",
    "Regions",
    "RlFigures",
    "RlRecord",
    "RuleAccuracies",
    "SampledAccuracies",
    "ScoreMetrics",
    "ScoreRecord",
    "SftFigures",
    "SftRecord",
    "TeacherRow",
    "TrainedRecords",
    "TrainedTokens",
    "TrainingRecord",
    "find_mismatch",
]

"""How a partition's settings are put into words."""

import pytest

from lorapar_cli.names import Stage
from lorapar_cli.stage_records.partition import PartitionRecord
from lorapar_cli.store.manifest import Manifest
from lorapar_cli.tools.run_results import selection_in_words
from tests.tools.finished_runs import PARTITION_COUNTS, PARTITION_METRICS, PARTITION_SETTINGS


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"theta_s2": None}, "importance, theta 0.9, alpha 0.5, beta 1"),
        (
            {"select": "bottom", "budget_s1": "5000", "budget_s2": "5000", "theta_s2": None},
            "bottom, budget 5000, alpha 0.5, beta 1",
        ),
        (
            {"budget_s1": "2%", "scope_s2": "module", "only": "B", "protect": 0.5},
            "importance, budget 2% and theta 0.5, alpha 0.5, beta 1, one cut per module for System 2, "
            "B only, protect 0.5",
        ),
        (
            {"scope": "module", "scope_s2": None},
            "importance, theta 0.9 and 0.5, alpha 0.5, beta 1, one cut per module",
        ),
    ],
)
def test_selection_in_words(settings, words):
    manifest = Manifest(Stage.PARTITION, PARTITION_SETTINGS | settings, [], {}, seed=0)
    manifest.keep(PartitionRecord(PARTITION_COUNTS, PARTITION_METRICS))
    assert selection_in_words(manifest) == words

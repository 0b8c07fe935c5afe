"""Records of stages are checked when they are read: what is missing or of another type is named."""

import copy

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.stage_records.partition import PartitionRecord
from lorapar_cli.store.manifest import Manifest

ROW = {"elements": 4, "regions": {"shared": 4}, "active_sft": 2, "active_rl": 2}
COUNTS = ROW | {
    "by_kind": [ROW | {"module": "q_proj", "matrix": "A"}],
    "by_layer": [ROW | {"layer": "0"}],
}
METRICS = {"jaccard": 1, "share_active_sft": 0.5, "share_active_rl": 0.5, "share_selected": 1.0}


def manifest(counts=COUNTS, metrics=METRICS) -> Manifest:
    return Manifest(Stage.PARTITION, {}, counts=counts, metrics=metrics)


def test_a_record_is_read_as_it_was_kept():
    record = manifest().record(PartitionRecord)
    assert record.counts["by_kind"][0]["module"] == "q_proj"
    other = Manifest(Stage.PARTITION, {})
    other.keep(record)
    assert (other.counts, other.metrics) == (COUNTS, METRICS)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda counts: counts.pop("active_rl"), "`counts.active_rl` is missing"),
        (lambda counts: counts.update(elements="4"), "`counts.elements` is '4'"),
        (lambda counts: counts.update(elements=True), "`counts.elements` is True"),
        (lambda counts: counts.update(regions=[]), "`counts.regions` is []"),
        (lambda counts: counts["regions"].update(shared=None), "`counts.regions.shared` is None"),
        (
            lambda counts: counts["by_kind"][0].pop("matrix"),
            "`counts.by_kind[0].matrix` is missing",
        ),
        (lambda counts: counts.update(by_layer={}), "`counts.by_layer` is {}"),
    ],
)
def test_a_damaged_record_is_an_error_that_says_where(change, named):
    counts = copy.deepcopy(COUNTS)
    change(counts)
    with pytest.raises(LoraparError) as caught:
        manifest(counts).record(PartitionRecord)
    assert caught.value.found.startswith(named)

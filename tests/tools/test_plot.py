"""`plot`: an image of each training stage that has metrics."""

import json

import pytest

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.tools.plot import plot


@pytest.fixture
def run(tmp_path):
    run = RunDir(tmp_path / "run")
    folder = run.folder(Stage.TRAIN_RL)
    folder.mkdir(parents=True)
    lines = [{"step": n, "loss": 1 / n, "reward": 0.1 * n, "kl": 0.0} for n in range(1, 9)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def test_a_picture_for_each_stage_with_metrics(run, tmp_path):
    paths = plot(run, out=tmp_path / "pictures")
    assert [path.name for path in paths] == ["train-rl.png"]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert paths[0].stat().st_size > 10_000


def test_no_metrics_is_an_error(tmp_path):
    with pytest.raises(LoraparError, match="has metrics"):
        plot(RunDir(tmp_path))


def test_a_search_for_the_learning_rate_has_a_picture_of_its_own(run, tmp_path):
    points = [
        {"rate": 1e-3, "value": 0.5, "behind": 0.1, "error": 0.02},
        {"rate": 1e-2, "value": 0.4, "behind": 0.0, "error": 0.0},
        {"rate": 1e-1, "value": None, "behind": None, "error": None},
    ]
    lines = "".join(json.dumps(point) + "\n" for point in points)
    (run.folder(Stage.TRAIN_RL) / "learning-rates.jsonl").write_text(lines)
    paths = plot(run, out=tmp_path / "pictures")
    assert [path.name for path in paths] == ["train-rl.png", "train-rl-learning-rates.png"]
    assert paths[1].read_bytes().startswith(b"\x89PNG")

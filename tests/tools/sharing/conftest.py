"""A run with every stage finished, to share."""

import shutil

import pytest

from lorapar_cli import RunDir
from tests.whole_run import add_reward_with_spread, make_whole_run


@pytest.fixture(scope="package")
def whole_run(tmp_path_factory, tiny_model_dir):
    with pytest.MonkeyPatch.context() as patch:
        add_reward_with_spread(patch)
        return make_whole_run(tmp_path_factory.mktemp("shared"), tiny_model_dir)[0]


@pytest.fixture
def run(whole_run, tmp_path) -> RunDir:
    """A copy of the run."""
    copy = RunDir(tmp_path / "copied-run")
    shutil.copytree(whole_run.root, copy.root)
    return copy

"""`--gradient-checkpointing`: the same steps up to rounding, frozen elements as they were."""

from dataclasses import replace

import numpy as np
import pytest

from lorapar_cli.names import Flag, Stage
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft
from tests.training.training_runs import RL, SFT, adapter, moved


@pytest.mark.usefixtures("reward_with_spread")
def test_activations_that_are_computed_again_are_the_same(run_dir):
    stages = (
        (train_sft, replace(SFT, max_steps=2), Stage.SCORE, Stage.TRAIN_SFT, Flag.SFT),
        (train_rl, replace(RL, max_steps=2), Stage.TRAIN_SFT, Stage.TRAIN_RL, Flag.RL),
    )
    for train, options, before, stage, flag in stages:
        train(run_dir, replace(options, gradient_checkpointing=True))
        recomputed = adapter(run_dir, stage)
        active, frozen = moved(run_dir, before, stage, flag)
        assert active
        assert not frozen
        # With dropout on, which draws the same numbers again.
        train(run_dir, replace(options, overwrite=True))
        for name, values in adapter(run_dir, stage).items():
            np.testing.assert_allclose(recomputed[name], values, rtol=0, atol=1e-6)

"""RL from directions of the base weights: found through the run, said with its source, not refused."""

import json
from dataclasses import replace

import pytest

from lorapar_cli.events import Note
from lorapar_cli.names import ADAPTER_CONFIG, Artifact, Stage
from lorapar_cli.training.recipes.init_warning import init_of, rl_init_warning
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft
from tests.training.training_runs import RL, SFT

pytestmark = pytest.mark.usefixtures("reward_with_spread")


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora", "corda", "mica", "PiSSA"])
def test_directions_of_the_base_weights_are_warned_of_with_the_source(init):
    warning = rl_init_warning(init)
    assert f"`{init}`" in warning
    assert "arXiv 2512.23165" in warning
    assert "Table 4" in warning


@pytest.mark.parametrize(
    "init", ["orthogonal", "gaussian", "default", "lora_ga", "eva", True, None]
)
def test_other_inits_are_not(init):
    assert rl_init_warning(init) is None


def test_the_init_is_found_through_every_stage_before(make_run):
    run = make_run("pissa")
    train_sft(run, replace(SFT, max_steps=1))
    events = []
    dry = train_rl(run, replace(RL, dry_run=True), progress=events.append)
    (warning,) = [note for note in dry.manifest.notes if "2512.23165" in note]
    assert warning in [event.text for event in events if isinstance(event, Note)]
    assert "`pissa`" in warning
    train_rl(run, replace(RL, max_steps=1))
    # The other way round as well: each of the two was then made from the other.
    train_sft(run, replace(SFT, max_steps=2, from_="rl", overwrite=True))
    assert init_of(run.folder(Stage.TRAIN_SFT) / Artifact.ADAPTER) == "pissa"


def test_no_warning_for_the_default_init(run_dir):
    dry = train_rl(run_dir, replace(RL, from_="init", dry_run=True))
    assert not any("2512.23165" in note for note in dry.manifest.notes)


def test_an_adapter_that_peft_made_is_known_by_its_configuration(tmp_path):
    assert init_of(tmp_path / "adapter") is None
    (tmp_path / "adapter").mkdir()
    config = {"init_lora_weights": "pissa_niter_4"}
    (tmp_path / "adapter" / ADAPTER_CONFIG).write_text(json.dumps(config))
    assert init_of(tmp_path / "adapter") == "pissa_niter_4"

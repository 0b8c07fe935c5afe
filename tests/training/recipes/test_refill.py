"""Groups without a spread are skipped and refilled, within a limit, at a cost that is counted."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.stage_records.training import RlRecord
from lorapar_cli.training.recipes.refill import Refill, _Prompts, flat_groups, place
from lorapar_cli.training.rewards.builtin import REWARDS
from lorapar_cli.training.train_rl import train_rl
from tests.training.test_train_resume import copy
from tests.training.training_runs import RL, Killed, adapter_bytes, kill_at, lines

REFILL = replace(RL, from_="init", rewards="even", refill=True, refill_limit=3)


def of_even_records(texts, answers):
    """Differs within a group where the record's answer leaves 1 on division by 4."""
    return [
        len(set(text)) / 10 if int(answer) % 4 == 1 else 0.5
        for text, answer in zip(texts, answers, strict=True)
    ]


@pytest.fixture(autouse=True)
def reward_of_half_the_records(monkeypatch):
    monkeypatch.setitem(REWARDS, "even", of_even_records)


def steps(run_dir) -> list[tuple[list[dict], list[dict]]]:
    """Returns the completions of each step that were trained on, and those that were skipped."""
    written = lines(run_dir, Stage.TRAIN_RL, Artifact.COMPLETIONS)
    return [
        tuple(
            [one for one in written if one["step"] == step and one.get("skipped", False) is skip]
            for skip in (False, True)
        )
        for step in sorted({one["step"] for one in written})
    ]


def spreads(completions: list[dict]) -> np.ndarray:
    rewards = np.array([one["rewards"]["even"] for one in completions])
    return rewards.reshape(-1, RL.num_generations).std(axis=1)


def test_every_group_that_is_trained_on_has_a_spread(run_dir):
    record = train_rl(run_dir, replace(REFILL, refill_limit=9)).manifest.record(RlRecord)
    plain = copy(run_dir, run_dir.root.parent / "plain")
    train_rl(plain, replace(REFILL, refill=False, overwrite=True))
    assert min(min(spreads(used)) for used, _ in steps(plain)) == 0
    extra = 0
    for (used, skipped), line in zip(
        steps(run_dir), lines(run_dir, Stage.TRAIN_RL, Artifact.METRICS), strict=True
    ):
        assert len(used) == 8
        assert min(spreads(used)) > 0
        assert len({one["id"] for one in used}) == 2
        assert not {one["id"] for one in used} & {one["id"] for one in skipped}
        assert line["frac_reward_zero_std"] == 0
        assert line["refill/completions"] == len(skipped)
        mean = np.mean([one["rewards"]["even"] for one in used])
        assert line["reward"] == pytest.approx(mean)
        assert line["reward_std_group"] == pytest.approx(
            np.array([one["rewards"]["even"] for one in used]).reshape(-1, 4).std(1, ddof=1).mean()
        )
        extra += len(skipped)
    cost = record.metrics["refill"]
    assert cost["completions"] == extra > 0
    assert cost["prompts"] == extra // RL.num_generations
    assert (cost["groups"], cost["flat"]) == (6, 0)
    assert cost["seconds"] > 0
    counted = lines(run_dir, Stage.TRAIN_RL, Artifact.REFILL)
    assert [line["step"] for line in counted] == [1, 2, 3]


def test_a_resumed_run_ends_with_the_same_bytes_and_figures(run_dir, tmp_path):
    straight = copy(run_dir, tmp_path / "straight")
    whole = train_rl(straight, REFILL).manifest.metrics["refill"]
    with pytest.raises(Killed):
        train_rl(run_dir, REFILL, progress=kill_at(3))
    resumed = train_rl(run_dir, REFILL).manifest.metrics["refill"]
    assert whole | {"seconds": 0} == resumed | {"seconds": 0}
    assert adapter_bytes(run_dir, Stage.TRAIN_RL) == adapter_bytes(straight, Stage.TRAIN_RL)
    assert steps(run_dir) == steps(straight)


def test_a_constant_reward_is_the_error_that_it_was(run_dir, monkeypatch):
    calls = []

    def constant(texts, _):
        calls.append(len(texts))
        return [1.0] * len(texts)

    monkeypatch.setitem(REWARDS, "even", constant)
    with pytest.raises(LoraparError, match="no step had a gradient"):
        train_rl(run_dir, replace(REFILL, max_steps=2, refill_limit=2))
    # Two steps, each with its batch and two rounds.
    assert calls == [8] * 6


def test_groups_that_stay_flat_are_counted_and_noted(run_dir, monkeypatch):
    manifest = train_rl(run_dir, replace(REFILL, refill_limit=1, max_steps=4)).manifest
    flat = sum(int((spreads(used) == 0).sum()) for used, _ in steps(run_dir))
    assert manifest.metrics["refill"]["flat"] == flat > 0
    assert any(f"{flat} of 8 groups were trained on without a spread" in n for n in manifest.notes)


@pytest.mark.parametrize("by_reward", [False, True])
def test_a_group_is_flat_by_what_advantages_are_made_of(by_reward):
    rewards = torch.tensor(
        [[1, 0], [0, 1], [1, 0], [1, 0], [0.1, 0], [0.2, 0]], dtype=torch.float32
    )
    weights = torch.tensor([1.0, 1.0])
    found = flat_groups(rewards, weights, 2, by_reward)
    # In the first the rewards differ, but not their sum.
    assert found == ([False, True, False] if by_reward else [True, True, False])


def group(name: str, flat: bool) -> SimpleNamespace:
    return SimpleNamespace(name=name, flat=flat)


def test_found_groups_take_the_places_of_flat_ones_in_order():
    groups = [group("a", True), group("b", False), group("c", True), group("d", True)]
    found = [group("e", True), group("f", False), group("g", False)]
    left_out = place(groups, found)
    assert [one.name for one in groups] == ["f", "b", "g", "d"]
    assert [one.name for one in left_out] == ["e", "a", "c"]
    assert [one.name for one in place(groups, [group("h", False), group("i", False)])] == ["d", "i"]


def test_prompts_are_drawn_once_and_not_again_those_of_the_batch():
    rows = [{"record_id": str(n)} for n in range(10)]
    refill = Refill(rows, [row["record_id"] for row in rows], 4, 3, 0, None)
    prompts = _Prompts(refill, "0 0", {"1", "2"})
    assert prompts.draw(0, 1) == []
    drawn = [row["record_id"] for size in (3, 1, 9) for row in prompts.draw(size, 2)]
    assert sorted(drawn) == sorted({str(n) for n in range(10)} - {"1", "2"})
    again, other = _Prompts(refill, "0 0", {"1", "2"}), _Prompts(refill, "1 0", {"1", "2"})
    assert [row["record_id"] for row in again.draw(8, 1)] == drawn
    assert [row["record_id"] for row in other.draw(8, 1)] != drawn

"""One scoring run: interrupted and resumed, packed, and refused before anything is loaded."""

import pytest

from lorapar_cli.errors import UsageError
from lorapar_cli.scoring import accumulate
from lorapar_cli.scoring.checkpoint import partial_folder
from tests.scoring.score_parts import importance_of, relative_norm, run_score


def test_packed_samples_give_the_same_importance(scored, tmp_path, tiny_model_dir, splits):
    outcome = run_score(tmp_path, tiny_model_dir, splits, packing=True, batch_tokens=400)
    assert relative_norm(importance_of(tmp_path), importance_of(scored)) < 1e-6
    assert outcome.manifest.settings["packing"] is True


def interrupt_after(monkeypatch, batches: int) -> list[int]:
    """Interrupts the pass once, after so many batches; returns a growing list of their samples."""
    add, seen, batches_done = accumulate._add_batch, [], []

    def interrupted(model, scoring, capture, indices, *arguments, **named):
        if len(batches_done) == batches:
            batches_done.append(None)
            raise KeyboardInterrupt
        batches_done.append(indices)
        seen.extend(indices)
        add(model, scoring, capture, indices, *arguments, **named)

    monkeypatch.setattr(accumulate, "_add_batch", interrupted)
    return seen


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("batches", [2, 15])
def test_an_interrupted_run_resumes(
    tmp_path, tiny_model_dir, splits, monkeypatch, batches, packing
):
    options = {"batch_tokens": 90, "packing": packing}
    seen = interrupt_after(monkeypatch, batches)
    with pytest.raises(KeyboardInterrupt):
        run_score(tmp_path, tiny_model_dir, splits, save_seconds=0, **options)
    assert partial_folder(tmp_path / "score").is_dir()
    outcome = run_score(tmp_path, tiny_model_dir, splits, save_seconds=0, **options)
    assert len(seen) == 24  # no sample was passed twice
    assert any("resumed from" in note for note in outcome.manifest.notes)
    assert not partial_folder(tmp_path / "score").exists()
    uninterrupted = tmp_path / "uninterrupted"
    run_score(uninterrupted, tiny_model_dir, splits, **options)
    found, expected = importance_of(tmp_path), importance_of(uninterrupted)
    assert all((found[name] == expected[name]).all() for name in expected)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"packing": True}])
def test_sums_of_other_settings_are_not_resumed_from(
    tmp_path, tiny_model_dir, splits, monkeypatch, changed
):
    interrupt_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        run_score(tmp_path, tiny_model_dir, splits, save_seconds=0)
    outcome = run_score(tmp_path, tiny_model_dir, splits, save_seconds=0, **changed)
    assert not any("resumed from" in note for note in outcome.manifest.notes)
    assert outcome.manifest.counts["samples"] == {"system1": 12, "system2": 12}


@pytest.mark.parametrize("init", ["default", "gaussian", "mica", "eva", "xavier", "pissa_niter_N"])
def test_inits_that_cannot_be_scored_are_refused_before_loading(tmp_path, splits, init):
    with pytest.raises(UsageError) as raised:
        run_score(tmp_path / "run", "nowhere", splits, init=init)
    assert "orthogonal" in raised.value.hint
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"init": "corda", "quantize": "4bit"}, "unquantised"),
        ({"init": "lora_ga", "quantize": "8bit"}, "unquantised"),
        ({"init": "loftq"}, "4-bit"),
        ({"init": "loftq", "quantize": "8bit"}, "4-bit"),
        ({"init": "mica", "formula": "magnitude"}, "keeps frozen"),
        ({"init": "mica", "formula": "random"}, "keeps frozen"),
    ],
)
def test_inits_say_what_they_need_before_loading(tmp_path, splits, changed, words):
    with pytest.raises(UsageError, match=words) as raised:
        run_score(tmp_path / "run", "nowhere", splits, **changed)
    assert "--" in raised.value.hint
    assert not (tmp_path / "run").exists()

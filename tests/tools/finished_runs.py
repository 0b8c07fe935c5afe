"""Run directories with every stage finished, as manifests alone."""

from lorapar_cli.names import Stage
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.reuse import describe_inputs
from lorapar_cli.store.run_dir import RunDir

BASE = {"id": "embedded", "revision": "local:0123456789abcdef"}
TEACHER = {
    **{"system1": 60, "system2": 38, "no_vote": 2, "asked": 100, "from_journal": 0},
    **{"requests": 100, "retries": 0, "too_many_requests": 0, "refused": 0},
    **{"tokens_estimated": 0, "prompt_tokens": 9, "completion_tokens": 9, "cost": 0.25},
    "price_date": None,
}
CLASSIFY_COUNTS = {
    **{"records": 100, "system1": 57, "system2": 38, "heldout": 5, "undecided": 1},
    **{"contested": 4, "reviewed": 0, "dropped": 0, "empty": 0, "bad_lines": 0},
    **{"repeated_ids": 0, "repeated_records": 0},
    "requests_saved": {"journal": 0, "economy": 0, "repeated_records": 0},
    "teachers": {"gpt|4": TEACHER, "local": TEACHER | {"cost": None}},
}
CLASSIFY_METRICS = {
    **{"mean_agreement": 0.9, "krippendorff_alpha": 0.8125, "cost": 0.25},
    "pairwise_agreement": {"gpt|4|local": 0.9},
    "accuracy": {"gpt|4": 0.75, "local": 0.5, "vote": 0.875, "records": 100},
}
SCORE_SETTINGS = {"formula": "taylor2", "init": "pissa", "r": 8, "lora_alpha": 64}
SCORE_COUNTS = {
    "samples": {"system1": 57, "system2": 38},
    "too_long": {"system1": 0, "system2": 1},
    **{"elements": 2_000, "matrices": 4},
}
SCORE_METRICS = {"step0_logit_difference": 0.0, "step0_largest_logit": 9.0}
PARTITION_SETTINGS = {
    **{"theta": 0.9, "theta_s1": None, "theta_s2": 0.5, "alpha": 0.5, "beta": 1.0},
    **{"select": "importance", "scope": "global"},
}
PARTITION_COUNTS = {
    "elements": 2_000,
    "regions": {"unselected": 1_000, "s1_only": 400, "s2_only": 400, "shared": 200},
    **{"active_sft": 500, "active_rl": 600, "by_kind": [], "by_layer": []},
}
PARTITION_METRICS = {
    **{"jaccard": 0.2, "share_active_sft": 0.25, "share_active_rl": 0.3},
    "share_selected": 0.5,
}
TRAINING_SETTINGS = {"replay": 0.25, "learning_rate": 2e-4, "optimizer": "adamw_torch"}
TRAINING_COUNTS = {
    "records": {"system1": 57, "system2": 19},
    **{"trained_records": 76, "elements": 2_000, "active_moved": 500, "frozen_moved": 0},
}
RATE_SEARCH = {
    **{"rate": 0.003, "reason": "best held-out loss after 20 steps", "found": True},
    **{"measure": "loss", "held_out": 25, "steps": 20, "untrained": 1.5, "seconds": 61.0},
    "belongs_to": "0123456789abcdef",
    "curve": [
        {"rate": 0.001, "value": 1.25, "behind": 0.25, "error": 0.0625},
        {"rate": 0.003, "value": 1.0, "behind": 0.0, "error": 0.0},
        {"rate": 0.009, "value": None, "behind": None, "error": None},
    ],
}


def accuracy(correct: int, n: int) -> dict:
    share = correct / n
    return {"n": n, "correct": correct, "accuracy": share, "interval": [share - 0.1, share + 0.1]}


def model_row(name: str, system1: int, system2: int) -> dict:
    return {
        "model": name,
        **accuracy(system1 + system2, 200),
        "by_system": {"system1": accuracy(system1, 100), "system2": accuracy(system2, 100)},
        "pass_at_k": {
            "1": {"pass_rate": 0.5, "draws": 8, "interval": [0.4, 0.6]},
            "4": {"pass_rate": 0.75, "draws": 8, "interval": [0.7, 0.8]},
        },
        "maj_at_k": {"4": accuracy(120, 200)},
        **{"completions": 1_600, "cut": 0},
    }


def difference(points: float) -> dict:
    return {
        **{"n": 200, "only_first": 9, "only_second": 1, "difference": points, "p_value": 0.02},
        "interval": [points - 0.05, points + 0.05],
    }


# Of eight draws the first one counts for `accuracy`, all of them for pass@k.
EVAL_SETTINGS = {
    **{"task": "data", "match": "answer", "models": ["base", "sft", "rl"]},
    **{"base_model": {"id": "embedded", "revision": None}, "temperature": 0.8, "samples": 8},
}
EVAL_METRICS = {
    "models": [model_row("base", 50, 20), model_row("sft", 70, 20), model_row("rl", 70, 80)],
    "pairs": [
        {
            **{"model": "rl", "against": "base", **difference(0.4)},
            "by_system": {"system1": difference(0.2), "system2": difference(0.6)},
        }
    ],
}


def finish(run: RunDir, stage: Stage, settings: dict, counts: dict, metrics: dict, **more) -> None:
    """Writes the manifest of a finished stage, with a file in its folder."""
    folder = run.folder(stage) if stage is not Stage.EVAL else run.folder(stage) / "test"
    folder.mkdir(parents=True)
    (folder / "result").write_text(stage)
    manifest = Manifest(stage, settings, counts=counts, metrics=metrics, **more)
    write_manifest(folder, manifest)


def write_run(root, *, masked: bool = True, search: dict | None = None) -> RunDir:
    """Returns a run directory in which every stage is finished.

    Args:
        masked: Whether training had a mask; else all elements were active.
        search: What `train-sft` records of a search for its learning rate, if it made one.
    """
    run = RunDir(root)
    data = root / "data.jsonl"
    root.mkdir(parents=True)
    data.write_text("{}\n")
    inputs = describe_inputs({"data": data})
    finish(
        run,
        Stage.CLASSIFY,
        {"teachers": {"gpt|4": "x", "local": "y"}, "limit": 100},
        CLASSIFY_COUNTS,
        CLASSIFY_METRICS,
        inputs=inputs,
        given=["teachers", "limit", "run_dir"],
        notes=["a note of classify"],
    )
    finish(run, Stage.SCORE, SCORE_SETTINGS, SCORE_COUNTS, SCORE_METRICS, base_model=BASE)
    finish(run, Stage.PARTITION, PARTITION_SETTINGS, PARTITION_COUNTS, PARTITION_METRICS)
    mask = {"mask": inputs["data"]} if masked else {}
    active = (500, 600) if masked else (2_000, 2_000)
    rate = {} if search is None else {"learning_rate": search["rate"], "rate_search": search}
    finish(
        run,
        Stage.TRAIN_SFT,
        TRAINING_SETTINGS,
        TRAINING_COUNTS | {"loss_tokens": 9, "active": active[0]},
        {"processes": 1, "engine": "none", "steps": 10, "loss": 1.25} | rate,
        inputs=mask,
    )
    finish(
        run,
        Stage.TRAIN_RL,
        TRAINING_SETTINGS,
        TRAINING_COUNTS | {"active": active[1]},
        {"processes": 2, "engine": "none", "steps": 1_234, "reward": 0.5, "clipped": 0.25},
        inputs=mask,
    )
    finish(
        run,
        Stage.EVAL,
        EVAL_SETTINGS,
        {"items": 200, "without_reference": 0, "tokens": {}},
        EVAL_METRICS,
    )
    return run

"""Finished evaluations, written by hand."""

from pathlib import Path

from lorapar_cli.names import Artifact
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.records import write_jsonl

SETTINGS = {
    **{"task": "data", "match": "answer", "style": "trained", "num_fewshot": 0, "limit": None},
    **{"k": [1], "sandbox": None, "max_new_tokens": 16, "samples": 1, "temperature": 0.0},
    **{"top_p": 1.0, "seed": 0, "backend": "transformers", "batch_size": 64, "dtype": "auto"},
    **{"template": None, "template_arg": [], "base_model": {"id": "m", "revision": None}},
}


def sample(item, correct, model="base", draw=0, **more) -> dict:
    """Returns a sample whose question and reference follow from its id."""
    return {
        **{"model": model, "id": str(item), "question": f"digest of {item}", "draw": draw},
        **{"prompt": f"What is {item}?", "completion": "#### 1", "reference": "1"},
        **{"extracted": "1" if correct else "2", "correct": correct},
        **more,
    }


def write_evaluation(
    folder: Path, samples: list[dict], forgetting: dict | None = None, **settings
) -> Path:
    """Writes the folder of an evaluation with these samples; returns it."""
    folder.mkdir(parents=True)
    write_jsonl(folder / Artifact.SAMPLES, samples)
    names = list(dict.fromkeys(each["model"] for each in samples))
    accuracy = {"n": 1, "correct": 0, "accuracy": 0.0, "interval": [0.0, 1.0]}
    measured = {} if forgetting is None else {"forgetting": forgetting}
    rows = [{"model": name, **accuracy, "completions": 1, "cut": 0, **measured} for name in names]
    manifest = Manifest(
        "eval",
        SETTINGS | {"models": names} | settings,
        counts={"items": 1, "without_reference": 0, "tokens": {}},
        metrics={"models": rows, "pairs": []},
    )
    manifest.base_model = {"id": "m", "revision": None}
    write_manifest(folder, manifest)
    return folder

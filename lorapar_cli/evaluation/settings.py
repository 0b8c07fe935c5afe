"""What an evaluation's figures depend on, read from its manifest."""

import hashlib
from collections.abc import Mapping
from typing import Any

from lorapar_cli.stage_records.evaluation import EvalSettings, ModelSettings, RunSettings
from lorapar_cli.store.manifest import Manifest

_OF_ADAPTERS = ("config", "weights")


def accuracy_of(settings: Mapping[str, Any]) -> str:
    """Returns which completion of each item `accuracy` is about, in words.

    Args:
        settings: Of the manifest.
    """
    if "base_model" not in settings:
        return "first given completion"
    if settings["match"] == "harness":
        return "metrics of lm-evaluation-harness"
    if settings["match"] == "likelihood":
        return "likeliest choice"
    if not settings["temperature"]:
        return "greedy"
    draws = settings["samples"]
    return "one draw" if draws == 1 else f"first of {draws} draws"


def describe_settings(manifest: Manifest) -> EvalSettings | RunSettings:
    """Returns `settings` of results.json."""
    settings, inputs = manifest.settings, manifest.inputs
    digests = {name: found["sha256"] for name, found in inputs.items()}
    adapters: dict[str, dict[str, str]] = {}
    for model in settings["models"]:
        own = {part: digests.pop(f"{model}/{part}", None) for part in _OF_ADAPTERS}
        if files := {part: digest for part, digest in own.items() if digest is not None}:
            adapters[model] = files
    found: EvalSettings = {
        "style": settings["style"],
        "num_fewshot": settings["num_fewshot"],
        "limit": settings["limit"],
        "inputs": digests,
        "k": list(settings["k"]),
        "sandbox": settings["sandbox"],
    }
    if settings["sandbox"] is not None:
        found["code"] = {
            name: value
            for name, value in settings.items()
            if name.startswith("code_") and value is not None
        }
    if "base_model" not in settings:
        return found
    return {**found, **_describe_models(manifest, adapters)}


def _describe_models(manifest: Manifest, adapters: dict[str, dict[str, str]]) -> ModelSettings:
    settings = manifest.settings
    template, base = settings["template"], manifest.base_model
    return {
        "base_model": None if base is None else {"id": base["id"], "revision": base["revision"]},
        "adapters": adapters,
        "template_sha256": None
        if template is None
        else hashlib.sha256(template.encode()).hexdigest(),
        "template_arg": list(settings["template_arg"]),
        "max_new_tokens": settings["max_new_tokens"],
        "draws": settings["samples"],
        "temperature": settings["temperature"],
        "top_p": settings["top_p"],
        "seed": settings["seed"],
        "backend": settings["backend"],
        "batch_size": settings["batch_size"],
        "dtype": settings["dtype"],
    }

"""What figures depend on, from manifests made by hand."""

import hashlib

import pytest

from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.settings import accuracy_of, describe_settings
from lorapar_cli.store.manifest import Manifest


def settings(**changes):
    models = {
        **{"models": ["base", "sft"], "base_model": {"id": "m", "revision": "r"}},
        **{"backend": "vllm", "batch_size": 7, "dtype": "auto", "template": "{{ x }}"},
        **{"template_arg": ["enable_thinking=false"], "sandbox": None},
    }
    options = EvalOptions(temperature=0.5, samples=4, k=(1, 4), limit=9, seed=3)
    return options.settings(num_fewshot=2) | models | changes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "first of 4 draws"),
        ({"samples": 1}, "one draw"),
        ({"samples": 1, "temperature": 0.0}, "greedy"),
        ({"match": "likelihood"}, "likeliest choice"),
    ],
)
def test_accuracy_is_of_one_completion_which_is_named(changes, said):
    assert accuracy_of(settings(**changes)) == said


def test_accuracy_of_given_completions():
    assert accuracy_of({"models": ["completions"], "match": "code"}) == "first given completion"


def test_everything_that_figures_depend_on():
    digests = {"data": "d", "sft/config": "c", "sft/weights": "w", "fewshot": "f"}
    inputs = {name: {"path": "p", "sha256": digest} for name, digest in digests.items()}
    manifest = Manifest("eval", settings(), inputs=inputs)
    manifest.base_model = {"id": "m", "revision": "r"}
    assert describe_settings(manifest) == {
        **{"style": "trained", "num_fewshot": 2, "limit": 9, "k": [1, 4], "sandbox": None},
        "inputs": {"data": "d", "fewshot": "f"},
        "base_model": {"id": "m", "revision": "r"},
        "adapters": {"sft": {"config": "c", "weights": "w"}},
        "template_sha256": hashlib.sha256(b"{{ x }}").hexdigest(),
        "template_arg": ["enable_thinking=false"],
        **{"max_new_tokens": 256, "draws": 4, "temperature": 0.5, "top_p": 1.0, "seed": 3},
        **{"backend": "vllm", "batch_size": 7, "dtype": "auto"},
    }


def test_programs_depend_on_what_they_were_allowed():
    changed = settings(sandbox="landlock", code_timeout=3.0, code_packages=("numpy",))
    found = describe_settings(Manifest("eval", changed))
    assert (found["sandbox"], found["code"]) == (
        "landlock",
        {"code_packages": ("numpy",), "code_timeout": 3.0, "code_memory": 512},
    )

"""Extras: what each of them asks for is there, in versions that agree: `pip check`, extra by extra."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lorapar_cli

ROOT = Path(lorapar_cli.__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = {
    canonicalize_name(name): version
    for name, version in re.findall(
        r"^([\w.-]+)==([\w.+!-]+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M
    )
}
# A module by which each extra is known to be installed.
MODULES = {
    "quantize": "bitsandbytes",
    "deepspeed": "deepspeed",
    "harness": "lm_eval",
    "latex": "math_verify",
    "trackers": "swanlab",
    "optimizers": "schedulefree",
}
NEEDS_GPU = {"vllm", "liger"}


def problems(wanted: list[str]) -> list[str]:
    """Returns what is missing or of another version among requirements and all that they require."""
    found, seen = [], set()
    queue = [(Requirement(text), "lorapar") for text in wanted]
    while queue:
        requirement, by = queue.pop()
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras), str(requirement.specifier)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras), str(requirement.specifier)))
        try:
            there = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            found.append(f"{by} requires {requirement}, which is not installed")
            continue
        if not requirement.specifier.contains(there.version, prereleases=True):
            found.append(f"{by} requires {requirement}, {there.version} is installed")
        for text in there.requires or []:
            needed = Requirement(text)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in ["", *requirement.extras]
            ):
                queue.append((needed, name))
    return found


def test_the_package_itself_agrees():
    assert problems(PROJECT["dependencies"]) == []


@pytest.mark.parametrize(
    "extra", [pytest.param(name, marks=pytest.mark.extra(m)) for name, m in MODULES.items()]
)
def test_an_extra_agrees_with_itself_and_with_the_package(extra):
    assert problems(PROJECT["dependencies"] + PROJECT["optional-dependencies"][extra]) == []


def test_every_extra_is_tried_but_those_that_cannot_be():
    assert PROJECT["optional-dependencies"].keys() - MODULES.keys() == NEEDS_GPU | {"dev"}


def test_vllm_is_of_a_version_that_trl_supports():
    (ours,) = map(Requirement, PROJECT["optional-dependencies"]["vllm"])
    supported = [
        each.specifier
        for each in map(Requirement, metadata.requires("trl") or [])
        if each.name == "vllm" and each.marker and each.marker.evaluate({"extra": "vllm"})
    ]
    assert supported == [ours.specifier]


def test_requirements_that_disagree_are_found():
    assert problems(["packaging<1"]) == [
        f"lorapar requires packaging<1, {metadata.version('packaging')} is installed"
    ]
    assert problems(["no-such-package"]) == [
        "lorapar requires no-such-package, which is not installed"
    ]


def test_every_requirement_has_a_pin_that_it_allows():
    texts = [
        *PROJECT["dependencies"],
        *(
            t
            for e, ts in PROJECT["optional-dependencies"].items()
            if e not in NEEDS_GPU
            for t in ts
        ),
    ]
    for requirement in map(Requirement, texts):
        pinned = CONSTRAINTS.get(canonicalize_name(requirement.name))
        assert pinned is not None, requirement
        assert requirement.specifier.contains(pinned, prereleases=True), requirement

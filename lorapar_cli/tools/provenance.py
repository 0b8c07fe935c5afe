"""Where a run comes from: machines, versions, settings, files, as sections of its report."""

from typing import Any

from lorapar_cli.names import Stage
from lorapar_cli.options import as_recorded, options_of
from lorapar_cli.store.manifest import Manifest
from lorapar_cli.tools.markdown import code, literal, section, table
from lorapar_cli.tools.run_results import STAGE_OPTIONS, RunResults
from lorapar_cli.tools.sharing.commands import given_options

_SHOWN_DIGITS = 12


def provenance_section(run: RunResults) -> str:
    """Returns when, where and with which versions and settings each stage ran."""
    everything = {stage.value: manifest for stage, manifest in run.stages.items()}
    everything |= {f"eval/{name}": manifest for name, manifest in run.evaluations.items()}
    rows = [
        [
            literal(name),
            manifest.started,
            f"{manifest.seconds() or 0:.0f}",
            _machine(manifest),
            _given(manifest),
        ]
        for name, manifest in everything.items()
    ]
    versions = {
        f"{library} {version}"
        for manifest in everything.values()
        for library, version in {"lorapar": manifest.lorapar_version, **manifest.libraries}.items()
    }
    return section(
        "How it was made",
        table(["stage", "started", "seconds", "machine", "given"], rows, text=5),
        _other_settings(everything),
        f"Versions: {', '.join(sorted(versions))}.",
    )


def _machine(manifest: Manifest) -> str:
    gpus = manifest.hardware.get("gpus") or []
    kinds = [f"{gpus.count(name)} x {name}" for name in dict.fromkeys(gpus)]
    return ", ".join(kinds) or f"{manifest.hardware.get('cores')} CPU cores"


def _given(manifest: Manifest) -> str:
    return " ".join(code(words) for words in given_options(manifest))


def files_section(run: RunResults) -> str:
    """Returns the digest of every file that a stage read or wrote."""
    everything = {stage.value: manifest for stage, manifest in run.stages.items()}
    everything |= {f"eval/{name}": manifest for name, manifest in run.evaluations.items()}
    rows = []
    for stage, manifest in everything.items():
        read = {f"in: {name}": found["sha256"] for name, found in manifest.inputs.items()}
        written = {name: found["sha256"] for name, found in manifest.outputs.items()}
        rows += [
            [literal(stage), literal(name), f"`{sha[:_SHOWN_DIGITS]}`"]
            for name, sha in (read | written).items()
        ]
    return section("Files", table(["stage", "file", "sha256"], rows, text=3))


def _other_settings(manifests: dict[str, Manifest]) -> str:
    """Returns the settings whose value is not the option's default."""
    rows = []
    for name, manifest in manifests.items():
        for each in options_of(STAGE_OPTIONS[Stage(manifest.stage)]):
            value = manifest.settings.get(each.name)
            default = as_recorded(each.default)
            if not _is_default(value, default):
                shown = "none" if default in (None, []) else code(_in_words(default))
                rows.append([literal(name), each.flag, code(_in_words(value)), shown])
    if not rows:
        return "Every setting is at its default."
    return "Settings other than the defaults:\n\n" + table(
        ["stage", "option", "value", "default"], rows, text=4
    )


def _is_default(value: Any, default: Any) -> bool:
    """Returns whether a recorded value says no more than the default; None is not recorded."""
    if isinstance(value, list) and isinstance(default, list):
        return sorted(map(str, value)) == sorted(map(str, default))
    return value is None or value == default


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, (list, dict)) else str(value)

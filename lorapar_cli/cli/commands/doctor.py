"""`lorapar doctor`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lorapar_cli.cli.console import print_json, say, stdout
from lorapar_cli.cli.options import JsonOption, RunDirOption
from lorapar_cli.cli.stage_command import stage_command
from lorapar_cli.errors import LoraparError
from lorapar_cli.plurals import counted
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir
from lorapar_cli.tools.memory import MemoryOptions

if TYPE_CHECKING:
    from lorapar_cli.tools.doctor import Finding
    from lorapar_cli.tools.memory import ModelMemory


@stage_command(MemoryOptions)
def doctor(
    options: MemoryOptions,
    run_dir: RunDirOption = DEFAULT_RUN_DIR,
    as_json: JsonOption = False,
) -> None:
    """Check this machine, or with `--model` the memory that a base model needs in each stage.

    Versions, GPUs, disk, keys and sandbox of the machine; exit 1 if a check fails.
    """
    if options.model is not None:
        _show_memory(options, as_json)
        return
    from lorapar_cli.tools import doctor as checks

    findings = checks.doctor(RunDir(run_dir))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        stdout().print(_table(findings))
    failed = [finding.topic for finding in findings if finding.state is checks.State.PROBLEM]
    if failed:
        raise LoraparError(
            f"{len(failed)} of {counted(len(findings), 'check')} failed", ", ".join(failed)
        )


def _table(findings: "list[Finding]") -> Any:
    from rich.table import Table

    table = Table()
    for heading in ("check", "state", "found"):
        table.add_column(heading)
    for finding in findings:
        found = finding.found + (f"\n-> {finding.hint}" if finding.hint else "")
        table.add_row(finding.topic, finding.state.value, found)
    return table


def _show_memory(options: MemoryOptions, as_json: bool) -> None:
    from lorapar_cli.tools.memory import examine

    found = examine(options)
    if as_json:
        print_json(asdict(found))
        return
    stdout().print(_memory_table(found))
    say(
        "activations are those of the longest batch that is allowed; the CUDA context and "
        "fragments, 1 to 2 GiB, come on top"
    )
    if any(stage.fits is False for stage in found.stages):
        say(
            "smaller: `--quantize 4bit`, `--gradient-checkpointing`, smaller batches, or `--gpus N` "
            "processes that share the base model"
        )


def _memory_table(found: "ModelMemory") -> Any:
    from rich.table import Table

    title = (
        f"GiB on one device: {found.model}, {counted(found.parameters, 'parameter')} in {found.dtype}, "
        f"{counted(found.elements, 'element')} in the adapter"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for stage in found.stages:
        table.add_column(stage.stage, justify="right")
    holders = list(dict.fromkeys(part for stage in found.stages for part in stage.parts))
    for holder in holders:
        sizes = [stage.parts.get(holder) for stage in found.stages]
        table.add_row(holder, *("" if size is None else _gib(size) for size in sizes))
    table.add_section()
    table.add_row("at once", *(_gib(stage.total) for stage in found.stages))
    if found.gpu is not None:
        words = ("fits" if stage.fits else "does not fit" for stage in found.stages)
        table.add_row(f"on {_gib(found.gpu)} GiB", *words)
    return table


def _gib(size: int) -> str:
    return f"{size / 2**30:,.2f}"

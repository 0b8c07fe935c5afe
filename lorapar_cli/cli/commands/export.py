"""`lorapar export`."""

from lorapar_cli.cli.console import progress_display, say, stdout
from lorapar_cli.cli.options import RunDirOption
from lorapar_cli.cli.stage_command import stage_command
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir
from lorapar_cli.tools.export import ExportOptions


@stage_command(ExportOptions)
def export(options: ExportOptions, run_dir: RunDirOption = DEFAULT_RUN_DIR) -> None:
    """Write an adapter or merged weights for use without lorapar, checked against what was trained."""
    from lorapar_cli.tools import export as tool

    with progress_display() as progress:
        difference = tool.export(RunDir(run_dir), options, progress=progress)
    kind = "merged model" if options.merge else "adapter"
    stdout().print(f"{kind}: {options.out}", soft_wrap=True, markup=False)
    if difference is not None:
        say(f"verified: logits differ from the trained model's by at most {difference:.1e}")
    elif not options.merge:
        say("verified: its tensors are those that were trained, bit for bit")

"""`lorapar export`."""

from typing import TYPE_CHECKING

from lorapar_cli.cli.console import progress_display, say, stdout
from lorapar_cli.cli.options import RunDirOption
from lorapar_cli.cli.stage_command import stage_command
from lorapar_cli.plurals import counted
from lorapar_cli.store.run_dir import DEFAULT_RUN_DIR, RunDir
from lorapar_cli.tools.export import ExportOptions

if TYPE_CHECKING:
    from lorapar_cli.tools.sharing.push import Upload


@stage_command(ExportOptions)
def export(options: ExportOptions, run_dir: RunDirOption = DEFAULT_RUN_DIR) -> None:
    """Write an adapter or merged weights for use without lorapar, or upload them to the Hub.

    What is written is checked against what was trained.
    """
    from lorapar_cli.tools import export as tool

    if options.push is not None:
        from lorapar_cli.tools.sharing.push import push

        with progress_display() as progress:
            upload = push(RunDir(run_dir), options, progress=progress)
        _say_what_was_checked(options, upload.logits)
        _print(upload, options)
        return
    with progress_display() as progress:
        difference = tool.export(RunDir(run_dir), options, progress=progress)
    kind = "merged model" if options.merge else "adapter"
    stdout().print(f"{kind}: {options.out}", soft_wrap=True, markup=False)
    _say_what_was_checked(options, difference)


def _say_what_was_checked(options: ExportOptions, difference: float | None) -> None:
    if difference is not None:
        say(f"verified: logits differ from the trained model's by at most {difference:.1e}")
    elif not options.merge:
        say("verified: its tensors are those that were trained, bit for bit")


def _print(upload: "Upload", options: ExportOptions) -> None:
    """Prints the files and their repository, and of a dry run how it becomes an upload."""
    lines = [f"{counted(size, 'byte'):>21}  {name}" for name, size in upload.files.items()]
    kind = "private" if upload.private else "public"
    verb = "would upload" if upload.url is None else "uploaded"
    total = f"{counted(len(upload.files), 'file')}, {counted(sum(upload.files.values()), 'byte')}"
    stdout().print(
        "\n".join([f"{verb} {total} to the {kind} repository {upload.repo}:", *lines]),
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    if upload.url is not None:
        stdout().print(upload.url, soft_wrap=True, markup=False, highlight=False)
        return
    say("a dry run: nothing was uploaded; the same command with `--yes` uploads")
    say("a repository that does not exist is created; a model card that it has is kept")
    if not upload.has_token:
        say("there is no token yet: set `HF_TOKEN`, or run `hf auth login`")
    if options.out is not None:
        say(f"`{options.out}` was not written; it is with `--yes`")

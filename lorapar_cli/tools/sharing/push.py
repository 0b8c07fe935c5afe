"""`export --push`: what would be uploaded to the Hugging Face Hub, and the upload."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.events import Advance, Note, Progress, silent
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.text_safety import make_inert, redact
from lorapar_cli.tools.export import ExportOptions, build, export
from lorapar_cli.tools.sharing.card import CARD

_MESSAGE = "Upload with lorapar"


@dataclass(frozen=True)
class Upload:
    """What was uploaded, or would be.

    Attributes:
        repo: Owner and name of the repository.
        private: Whether it is, or would be, private.
        files: Path in the repository -> bytes, by name.
        has_token: Whether a token was found; it is not asked for what it may do.
        url: Address of the commit; None of a dry run.
        kept: Whether the repository's own model card was left as it was.
        logits: Largest difference of a logit, where logits were compared.
    """

    repo: str
    private: bool
    files: dict[str, int]
    has_token: bool
    url: str | None = None
    kept: bool = False
    logits: float | None = None


def push(run_dir: RunDir, options: ExportOptions, *, progress: Progress = silent) -> Upload:
    """Uploads what `export` writes and its model card; without `yes` only says what it would be.

    A dry run writes nothing and asks nothing of the network. A repository that does not exist is
    created, private unless `public`. One that is public is refused without `public`. A model card
    that a repository has is kept unless `card`. `out` is written before the upload begins.

    Raises:
        UsageError: No repository is named.
        LoraparError: As of `export`; or the Hub cannot be reached, or refuses.
    """
    repo = options.push
    if repo is None:
        raise UsageError("no repository is named", hint="give `--push OWNER/NAME`")
    token = get_token()
    if options.yes:
        return _push(repo, _require_access(token), run_dir, options, progress)
    with TemporaryDirectory() as scratch:
        logits = build(run_dir, options, Path(scratch), progress)
        files = _sizes(Path(scratch))
    return Upload(repo, not options.public, files, token is not None, logits=logits)


def _push(
    repo: str, token: str, run_dir: RunDir, options: ExportOptions, progress: Progress
) -> Upload:
    api = HfApi(token=token, library_name="lorapar")
    # Before the work: merging may take long.
    with _hub_errors(repo, token):
        found = _find(api, repo, options.public)
    with TemporaryDirectory() as scratch:
        if options.out is None:
            folder, logits = Path(scratch), build(run_dir, options, Path(scratch), progress)
        else:
            folder, logits = options.out, export(run_dir, options, progress=progress)
        files = _sizes(folder)
        kept = found is not None and CARD in found.files and not options.card
        if kept:
            files.pop(CARD)
            progress(Note(f"`{repo}` has a model card, which is kept; `--card` replaces it"))
        progress(Advance(f"uploading to {repo}"))
        with _hub_errors(repo, token, options.out), _without_bars():
            if found is None:
                api.create_repo(repo, private=not options.public)
            commit = api.upload_folder(
                repo_id=repo,
                folder_path=folder,
                allow_patterns=list(files),
                commit_message=_MESSAGE,
            )
    private = not options.public if found is None else found.private
    return Upload(repo, private, files, True, str(commit.commit_url), kept, logits)


def _sizes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _require_access(token: str | None) -> str:
    if constants.is_offline_mode():
        raise LoraparError(
            "the Hugging Face Hub is turned off",
            "`HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE` is set",
            "unset it to upload; without `--yes` nothing is asked of the network",
        )
    if token is None:
        raise LoraparError(
            "there is no token for the Hugging Face Hub",
            "`HF_TOKEN` is not set, and nobody has logged in",
            "set `HF_TOKEN` to a token with write access, or run `hf auth login`",
        )
    return token


@dataclass(frozen=True)
class _Found:
    """A repository that is there already."""

    private: bool
    files: set[str]


def _find(api: HfApi, repo: str, public: bool) -> _Found | None:
    """Returns a repository; None where there is none, or none that the token may see.

    Raises:
        LoraparError: It is public, and that was not asked for.
    """
    try:
        found = api.model_info(repo)
    except RepositoryNotFoundError:
        return None
    if not found.private and not public:
        raise LoraparError(
            f"`{repo}` is public",
            "what is uploaded there can be read by everybody",
            "give `--public` if that is meant, or name another repository",
        )
    return _Found(bool(found.private), {each.rfilename for each in found.siblings or []})


@contextmanager
def _without_bars() -> Iterator[None]:
    """Turns the Hub's own progress bars off; ours are next to them."""
    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _hub_errors(repo: str, token: str, out: Path | None = None) -> Iterator[None]:
    """Turns what the Hub and the network say into expected errors, without the token."""
    kept = f"; `{out}` is kept, `hf upload {repo} {out}` uploads it" if out else ""
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        hint = {
            401: "the token is not valid: set `HF_TOKEN` to one that is",
            403: "the token may not write there: it needs write access to that owner's repositories",
        }.get(status, "run the same command again")
        said = error.server_message or str(error).splitlines()[0]
        raise LoraparError(
            f"the Hugging Face Hub refuses the upload to `{repo}`",
            _plain(f"status {status}: {said}", token),
            hint + kept,
        ) from None
    except (HFValidationError, ValueError) as error:
        raise LoraparError(
            f"the Hugging Face Hub cannot take the upload to `{repo}`",
            _plain(str(error), token),
            f"change what it names{kept}",
        ) from None
    except (httpx2.HTTPError, OfflineModeIsEnabled, OSError) as error:
        raise LoraparError(
            f"cannot reach the Hugging Face Hub at {constants.ENDPOINT}",
            _plain(f"{type(error).__name__}: {error}", token),
            f"check the network and `HF_ENDPOINT`, then run the same command again{kept}",
        ) from None


def _plain(text: str, token: str) -> str:
    return make_inert(redact(" ".join(text.split()), [token]))

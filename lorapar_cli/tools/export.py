"""`export`: a run's adapter or its merged weights, for use without lorapar."""

import json
from dataclasses import dataclass
from pathlib import Path

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.events import Advance, Note, Progress, silent
from lorapar_cli.libraries import MODELS, require_libraries
from lorapar_cli.model_options import model_option, trust_option
from lorapar_cli.models.rendering.chat_template import ChatTemplate, read_arguments
from lorapar_cli.names import ADAPTER_CONFIG, Artifact, Dtype
from lorapar_cli.options import Options, option
from lorapar_cli.store.atomic import new_folder
from lorapar_cli.store.run_dir import ADAPTERS, AdapterName, RunDir
from lorapar_cli.store.verify import check_folder
from lorapar_cli.tools.run_results import read_run
from lorapar_cli.tools.sharing.names import LICENSE, hub_id, require_name

_CARD = {"panel": "Model card"}
_HUB = {"panel": "Hugging Face Hub"}


@dataclass(frozen=True)
class ExportOptions(Options):
    """Options of `export`.

    Raises:
        UsageError: An option has no such value, or options exclude each other.
    """

    out: Path | None = option(
        None, "Folder to write; new or empty. Needed unless `--push` is given."
    )
    what: AdapterName = option("rl", "Adapter as scored (init), after SFT, or after RL.")
    merge: bool = option(
        False, "Write the base model with the adapter merged in, one tensor at a time."
    )
    dtype: Dtype = option(
        "auto", "Data type of merged weights; `auto` is that of the base model's files."
    )
    check_logits: bool = option(
        False,
        "Also load what was trained and what was written, and compare the logits of a few prompts. "
        "Needs memory for the whole model in float32.",
    )
    model: str | None = model_option()
    trust_remote_code: bool = trust_option()
    card: bool = option(
        False,
        "Also write a model card, README.md: base model, data, method, active share, results with "
        "intervals, command lines. What no manifest says is listed in it, to be filled in.",
        **_CARD,
    )
    license: str | None = option(
        None,
        "Licence of what is shared, for the card: an id of the Hub such as `apache-2.0`, or `other`.",
        **_CARD,
    )
    license_name: str | None = option(None, "Name of the licence, with `--license other`.", **_CARD)
    license_link: str | None = option(
        None, "Address of its text, or LICENSE, with `--license other`.", **_CARD
    )
    base_model_id: str | None = option(
        None,
        "Id of the base model on the Hub, for the card and adapter_config.json, where the run used a "
        "folder.",
        **_CARD,
    )
    push: str | None = option(
        None,
        "Upload it to this repository of the Hub, `OWNER/NAME`, with a model card. Without `--yes` a "
        "dry run: says what would be uploaded, and asks nothing of the network.",
        metavar="REPO",
        **_HUB,
    )
    yes: bool = option(False, "Upload, with the token of `HF_TOKEN` or `hf auth login`.", **_HUB)
    public: bool = option(
        False, "Make a new repository public, and allow one that is. Default: private.", **_HUB
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.out is None and self.push is None:
            raise UsageError("`export` needs a folder to write", hint="give `--out`, or `--push`")
        for name in ("yes", "public"):
            if getattr(self, name) and self.push is None:
                raise UsageError(f"`--{name}` is of `--push`", hint="give `--push OWNER/NAME`")
        self._check_card()

    def _check_card(self) -> None:
        for name in ("license", "license_name", "license_link"):
            if getattr(self, name) is not None and not (self.card or self.push):
                flag = name.replace("_", "-")
                raise UsageError(f"`--{flag}` is of a model card", hint="add `--card`")
        if self.license is not None and not LICENSE.fullmatch(self.license):
            raise UsageError(
                f"`--license` has no `{self.license}`",
                "ids are in small letters: `apache-2.0`, `mit`, `llama3.1`, `other`",
                "see https://huggingface.co/docs/hub/repositories-licenses",
            )
        if self.license == "other" and self.license_name is None:
            raise UsageError("`--license other` needs a name", hint="give `--license-name`")
        if self.license != "other" and (self.license_name or self.license_link):
            raise UsageError(
                "`--license-name` and `--license-link` are of other licences than the Hub's",
                hint="give `--license other`",
            )
        if self.base_model_id is not None:
            require_name(self.base_model_id, "--base-model-id", owner=False)
        if self.push is not None:
            require_name(self.push, "--push", owner=True)


def export(run_dir: RunDir, options: ExportOptions, *, progress: Progress = silent) -> float | None:
    """Writes the adapter of a stage, or the base model with it merged in, into a new folder.

    Returns:
        With `check_logits`, the largest absolute difference of a logit from the trained model's.

    Raises:
        UsageError: `--dtype` without `--merge`, or no folder.
        LoraparError: The stage has not finished, the folder is not empty, or the export is not what
            was trained; nothing is written then.
    """
    out = options.out
    if out is None:
        raise UsageError("`export` needs a folder to write", hint="give `--out`")
    if out.exists() and not out.is_dir():
        raise LoraparError(f"`{out}` is a file", hint="choose a new folder with `--out`")
    if out.exists() and any(out.iterdir()):
        raise LoraparError(f"`{out}` is not empty", hint="choose a new folder with `--out`")
    with new_folder(out) as built:
        return build(run_dir, options, built, progress)


def build(run_dir: RunDir, options: ExportOptions, built: Path, progress: Progress) -> float | None:
    """Fills an empty folder; as `export` otherwise."""
    stage = ADAPTERS[options.what]
    if options.dtype != "auto" and not options.merge:
        raise UsageError(
            f"`--dtype {options.dtype}` is of merged weights",
            "an adapter is always float32",
            "omit it, or add `--merge`",
        )
    folder = run_dir.require(stage, f"adapter of `{options.what}`", "--what")
    base_id, revision = run_dir.base_of_adapter(options.model)
    check_folder(folder / Artifact.ADAPTER)
    adapter = folder / Artifact.ADAPTER
    require_libraries(MODELS, "`lorapar export`")
    if not options.merge:
        progress(Advance("copying the adapter"))
    from lorapar_cli.models import export as exporting

    if not options.merge:
        exporting.copy_adapter(adapter, built)
    difference = None
    if options.merge or options.check_logits:
        difference = _use_base(run_dir, options, built, base_id, revision, progress)
    shared = options.card or options.push is not None
    if not options.merge and (shared or options.base_model_id is not None):
        _name_base(built / ADAPTER_CONFIG, options.base_model_id or hub_id(base_id, revision))
    if shared:
        _write_card(run_dir, options, built, hub_id(base_id, revision), revision, progress)
    return difference


def _use_base(
    run_dir: RunDir,
    options: ExportOptions,
    built: Path,
    base_id: str,
    revision: str | None,
    progress: Progress,
) -> float | None:
    """Merges the base model and compares logits, as far as either was asked for."""
    from lorapar_cli.models import export as exporting
    from lorapar_cli.models.base_model import find_base_model

    stage, trust = ADAPTERS[options.what], options.trust_remote_code
    adapter = run_dir.folder(stage) / Artifact.ADAPTER
    base = find_base_model(base_id, trust)
    if revision is not None and base.revision != revision:
        raise LoraparError(
            f"base model `{base_id}` is not the one that the adapter was made for",
            f"revision was {revision}, is {base.revision}",
            "restore it, or name another with `--model`",
        )
    if options.merge:
        exporting.merge(
            base,
            adapter,
            built,
            options.dtype,
            trust,
            ChatTemplate(
                run_dir.template(stage),
                read_arguments(run_dir.template_arguments(stage)),
                defaults=True,
            ),
            known=revision is not None,
            progress=progress,
        )
    if not options.check_logits:
        return None
    progress(Advance("comparing logits"))
    from lorapar_cli.models.measuring.logits import compare_logits

    return compare_logits(base, adapter, built, options.merge, trust)


def _name_base(config: Path, base_id: str | None) -> None:
    """Names the base model in adapter_config.json by its id; a path of this machine goes."""
    content = json.loads(config.read_text(encoding="utf-8"))
    content["base_model_name_or_path"] = base_id
    config.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _write_card(
    run_dir: RunDir,
    options: ExportOptions,
    built: Path,
    base_id: str | None,
    revision: str | None,
    progress: Progress,
) -> None:
    from lorapar_cli.tools.sharing.card import CardFacts, write_card

    named = options.base_model_id
    facts = CardFacts(
        what=options.what,
        merged=options.merge,
        title=options.push or (options.out.name if options.out else options.what),
        base_id=named or base_id,
        revision=revision if named in (None, base_id) else None,
        license=options.license,
        license_name=options.license_name,
        license_link=options.license_link,
    )
    for each in write_card(read_run(run_dir), facts, built):
        progress(Note(f"to fill in on the model card: {each}"))

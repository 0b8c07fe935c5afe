"""The run directory: the folder of each stage, and what the stages remember for later ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.store.atomic import recover
from lorapar_cli.store.disk.regular_files import exists, require_regular
from lorapar_cli.store.manifest import KnownModel, Manifest, read_manifest
from lorapar_cli.store.reuse import Change, find_changes
from lorapar_cli.store.verify import Damage, check_written, find_damage

DEFAULT_RUN_DIR = Path("lorapar-run")

AdapterName = Literal["init", "sft", "rl"]
ADAPTERS: dict[str, Stage] = {
    "init": Stage.SCORE,
    "sft": Stage.TRAIN_SFT,
    "rl": Stage.TRAIN_RL,
}
"""Name of an adapter of a run -> the stage that makes it."""

COMMANDS = {
    Stage.CLASSIFY: "lorapar classify DATA --teachers a,b,c",
    Stage.SCORE: "lorapar score",
    Stage.PARTITION: "lorapar partition",
    Stage.TRAIN_SFT: "lorapar train-sft",
    Stage.TRAIN_RL: "lorapar train-rl",
    Stage.EVAL: "lorapar eval",
}
"""Stage -> the command that makes it."""

MORE_LABELS = (
    "label more data, ask other teachers, or correct labels by hand with `--review`, all with "
    "`lorapar classify`"
)
"""What to do where one system has no records."""


CHANGES: dict[Change, str] = {
    "changed": "has changed",
    "missing": "is missing",
    "unreadable": "cannot be read",
}
"""What is wrong with an input, in words."""


@dataclass(frozen=True)
class RunDir:
    """Paths inside one run directory; no method creates any of them."""

    root: Path

    def __post_init__(self) -> None:
        # For callers from Python, who write "lorapar-run".
        object.__setattr__(self, "root", Path(self.root))

    def folder(self, stage: Stage | str) -> Path:
        """Returns the stage's folder, finished or not."""
        return self.root / str(stage)

    def target(self, stage: Stage, out: Path | None) -> Path:
        """Returns the folder that a stage replaces: its own, or the one that `out` names.

        Raises:
            LoraparError: `out` contains something other than an earlier result of this stage.
        """
        if out is None:
            return self.folder(stage)
        if not out.exists():
            return out
        if out.is_dir():
            # An interrupted classify leaves its journal of votes.
            ours = {path.name for path in out.iterdir()} <= {Artifact.VOTES}
            earlier = read_manifest(out)
            if ours or (earlier is not None and earlier.stage == stage.value):
                return out
        raise LoraparError(
            f"`{out}` already contains something other than a result of `{stage.value}`",
            hint="name a new or empty folder with `--out`",
        )

    def manifest(self, stage: Stage | str) -> Manifest | None:
        """Returns the stage's manifest, None where the stage has not finished.

        Raises:
            LoraparError: The manifest is damaged.
        """
        recover(self.folder(stage))
        return read_manifest(self.folder(stage))

    def require(self, stage: Stage, wanted: str, option: str) -> Path:
        """Returns the folder of a finished stage.

        Args:
            wanted: What the caller needs from the folder, for the message ("labelled splits").
            option: The option that names another folder or file instead.

        Raises:
            LoraparError: The stage has not finished in this run directory.
        """
        if self.manifest(stage) is None:
            folder = self.folder(stage)
            state = "is unfinished" if exists(folder) else "does not exist"
            raise LoraparError(
                f"no {wanted} in run directory `{self.root}`",
                f"`{folder}` {state}",
                f"run `{COMMANDS[stage]}` first, or name them with `{option}`",
            )
        return self.folder(stage)

    def changed_inputs(self, stage: Stage | str) -> dict[str, Change]:
        """Returns the inputs of a finished stage that are no longer what it was made from.

        Args:
            stage: A stage, or `eval/<name>`.

        Returns:
            Name -> what is wrong with it.
        """
        manifest = self.manifest(stage)
        return {} if manifest is None else find_changes(self.folder(stage), manifest)

    def damage(self, stage: Stage | str) -> list[Damage]:
        """Returns the outputs of a finished stage that are not what it wrote.

        Raises:
            UnreadableError: One cannot be read.
        """
        while (manifest := self.manifest(stage)) is not None:
            damage = list(find_damage(self.folder(stage), manifest))
            # Another command may have replaced the whole result in between.
            if not damage or self.manifest(stage) == manifest:
                return damage
        return []

    def require_current(self, stage: Stage) -> None:
        """Checks that the files from which a stage's result was made are there and have not changed.

        Raises:
            LoraparError: One has; the message names it.
            UnreadableError: One cannot be read.
        """
        manifest, changes = self.manifest(stage), self.changed_inputs(stage)
        if manifest is not None and changes:
            paths = {name: self.root / manifest.inputs[name]["path"] for name in changes}
            for name, path in paths.items():
                # Damage is not staleness: running the stage again would build on it.
                check_written(path)
                if changes[name] == "unreadable":
                    require_regular(path)
            raise LoraparError(
                f"`{self.folder(stage)}` is stale",
                "\n".join(
                    f"its input `{paths[name]}` {CHANGES[how]}" for name, how in changes.items()
                ),
                f"run `lorapar {stage.value}` again, or name its files with their options",
            )

    def template(self, *stages: Stage) -> str | None:
        """Returns the chat template that the first finished one of `stages` used.

        Args:
            stages: Default: the stages that render prompts, the last one first.

        Returns:
            Jinja text; None for the model's own template.
        """
        for stage in stages or (Stage.TRAIN_RL, Stage.TRAIN_SFT, Stage.SCORE):
            manifest = self.manifest(stage)
            if manifest is not None:
                return manifest.settings.get("template")
        return None

    def template_arguments(self, *stages: Stage) -> Sequence[str]:
        """Returns the arguments that the first finished one of `stages` gave to its chat template.

        Args:
            stages: As for `template`.
        """
        for stage in stages or (Stage.TRAIN_RL, Stage.TRAIN_SFT, Stage.SCORE):
            manifest = self.manifest(stage)
            if manifest is not None:
                return manifest.settings.get("template_arg", ())
        return ()

    def base_model(self) -> str | None:
        """Returns the base model that the run remembers: the scored one, else classify's student."""
        known = self._known_model()
        return None if known is None else known["id"]

    def base_of_adapter(self, model: str | None) -> tuple[str, str | None]:
        """Returns id and, where known, revision of the base model that adapters belong to.

        Args:
            model: What the user named, or None for what the run directory remembers.

        Raises:
            UsageError: Neither names one.
        """
        known = self._known_model()
        if known is not None and (
            model is None or known["id"] in (model, str(Path(model).resolve()))
        ):
            return known["id"], known["revision"]
        if model is None:
            raise UsageError(
                f"no base model is known in run directory `{self.root}`",
                hint="name one with `--model`: a folder, a hub id, or `embedded`",
            )
        return model, None

    def _known_model(self) -> KnownModel | None:
        for stage in (Stage.SCORE, Stage.CLASSIFY):
            manifest = self.manifest(stage)
            if manifest is not None and manifest.base_model is not None:
                return manifest.base_model
        return None

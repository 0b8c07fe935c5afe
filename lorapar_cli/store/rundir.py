"""The run directory: where each stage's folder and its files lie."""

from dataclasses import dataclass
from pathlib import Path

from lorapar_cli.errors import LoraparError
from lorapar_cli.names import Stage
from lorapar_cli.store.manifest import Manifest, read_manifest
from lorapar_cli.store.publish import recover

DEFAULT_RUN_DIR = Path("lorapar-run")

_NEXT_COMMAND = {
    Stage.CLASSIFY: "lorapar classify DATA --teachers a,b,c",
    Stage.SCORE: "lorapar score",
    Stage.PARTITION: "lorapar partition",
    Stage.TRAIN_SFT: "lorapar train-sft",
    Stage.TRAIN_RL: "lorapar train-rl",
    Stage.EVAL: "lorapar eval",
}


@dataclass(frozen=True)
class RunDir:
    """Paths inside one run directory; nothing is created by asking for a path."""

    root: Path

    def folder(self, stage: Stage) -> Path:
        """Returns the stage's folder, finished or not."""
        return self.root / stage.value

    def manifest(self, stage: Stage) -> Manifest | None:
        """Returns the stage's manifest, or None where it has not finished."""
        recover(self.folder(stage))
        return read_manifest(self.folder(stage))

    def require(self, stage: Stage, wanted: str, option: str) -> Path:
        """Returns the folder of a finished stage.

        Args:
            wanted: What the caller needs from it, for the message ("labelled splits").
            option: The option that names another place for it.

        Raises:
            LoraparError: The stage has not finished in this run directory.
        """
        if self.manifest(stage) is None:
            folder = self.folder(stage)
            state = "is unfinished" if folder.exists() else "does not exist"
            raise LoraparError(
                f"no {wanted} in run directory `{self.root}`",
                f"`{folder}` {state}",
                f"run `{_NEXT_COMMAND[stage]}` first, or name them with `{option}`",
            )
        return self.folder(stage)

    def base_model(self) -> str | None:
        """Returns the base model that the run remembers: the scored one, else the student."""
        for stage in (Stage.SCORE, Stage.CLASSIFY):
            manifest = self.manifest(stage)
            if manifest is not None and manifest.base_model is not None:
                return manifest.base_model["id"]
        return None

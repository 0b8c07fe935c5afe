"""What a comparison reads of a run's stages, to tell later whether they were made anew."""

from collections.abc import Iterable, Mapping

from lorapar_cli.names import ADAPTER_WEIGHTS, Artifact, Stage, System, split_file
from lorapar_cli.store.run_dir import RunDir

_WEIGHTS = f"{Artifact.ADAPTER}/{ADAPTER_WEIGHTS}"
_READ: dict[Stage, tuple[str, ...]] = {
    Stage.CLASSIFY: (*(split_file(system) for system in System), Artifact.HELD_OUT),
    Stage.SCORE: (_WEIGHTS, Artifact.IMPORTANCE),
    Stage.TRAIN_SFT: (_WEIGHTS,),
}


def compared_inputs(run: RunDir, stages: Iterable[Stage]) -> dict[str, str]:
    """Returns what a comparison reads: path below the run directory -> sha256, by the manifests.

    Args:
        stages: Of `classify`, `score` and `train-sft`, those that it reads.

    Raises:
        LoraparError: A manifest cannot be read.
    """
    found: dict[str, str] = {}
    for stage in stages:
        manifest = run.manifest(stage)
        outputs = {} if manifest is None else manifest.outputs
        found |= {
            f"{stage}/{name}": outputs[name]["sha256"] for name in _READ[stage] if name in outputs
        }
    return found


def changed_since(run: RunDir, inputs: Mapping[str, str]) -> list[Stage]:
    """Returns the stages whose results are no longer those that a comparison read.

    Raises:
        LoraparError: A manifest cannot be read.
    """
    stages = [stage for stage in _READ if any(path.startswith(f"{stage}/") for path in inputs)]
    now = compared_inputs(run, stages)
    return [
        stage
        for stage in stages
        if any(
            now.get(path) != digest
            for path, digest in inputs.items()
            if path.startswith(f"{stage}/")
        )
    ]

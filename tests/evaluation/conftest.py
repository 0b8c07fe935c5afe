"""A run directory whose training stages have finished, with adapters unlike the base model."""

import pytest

from lorapar_cli.evaluation.evaluate import evaluate
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.records import read_jsonl, write_records
from lorapar_cli.store.run_dir import RunDir


@pytest.fixture(scope="session")
def adapters(tiny_model_dir, tmp_path_factory):
    """Two adapters with large random values, so that they complete unlike the base model."""
    import torch

    from lorapar_cli.models.adapter import create_adapter, save_adapter
    from lorapar_cli.models.base_model import find_base_model, load_base

    folders = {}
    for seed, name in enumerate(("sft", "rl")):
        base = load_base(find_base_model(str(tiny_model_dir)))
        model = create_adapter(
            base, r=4, lora_alpha=32, target_modules=["q_proj", "up_proj"], init="gaussian", seed=0
        )
        torch.manual_seed(seed)
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.3)
        folders[name] = tmp_path_factory.mktemp("adapters") / name
        save_adapter(model, folders[name])
    return folders


@pytest.fixture
def run_dir(tmp_path, tiny_model_dir, adapters, labelled_records):
    """A run directory whose training stages have finished with these adapters."""
    from lorapar_cli.models.base_model import find_base_model

    run = RunDir(tmp_path / "run")
    base = find_base_model(str(tiny_model_dir)).to_manifest()
    for stage, name in ((Stage.CLASSIFY, None), (Stage.TRAIN_SFT, "sft"), (Stage.TRAIN_RL, "rl")):
        folder = run.folder(stage)
        folder.mkdir(parents=True)
        if name is None:
            write_records(folder / Artifact.HELD_OUT, labelled_records)
        else:
            (folder / Artifact.ADAPTER).symlink_to(adapters[name])
        write_manifest(folder, Manifest(stage=stage, settings={}, base_model=base))
    return run


@pytest.fixture
def evaluate_in():
    """Evaluates with short completions and small batches, unless told otherwise."""

    def call(run_dir, *, progress=lambda _: None, **options):
        short = {"max_new_tokens": 12, "batch_size": 5, "forgetting": False}
        return evaluate(run_dir, EvalOptions(**(short | options)), progress=progress)

    return call


@pytest.fixture
def read_samples():
    """Reads an outcome's samples."""
    return lambda outcome: [line for _, line in read_jsonl(outcome.folder / Artifact.SAMPLES)]

"""`score` with the base model divided over two processes: the numbers of one."""

import pytest

from tests.ports import free_port
from tests.scoring.score_parts import importance_of, relative_norm, run_score
from tests.scoring.test_score_processes import launch

# Several batches of different sizes, and not as many in each process.
UNEVEN = {"samples": 7, "batch_tokens": 150}
MOVEMENT = {"rule": "movement", "movement_steps": 2, "movement_s2": "sft"}


def flags(options):
    return [
        part
        for name, value in options.items()
        for part in ("--" + name.replace("_", "-"), str(value))
    ]


def sharded_equals_whole(tmp_path, model, splits, options, variables=None):
    both, alone = tmp_path / "both", tmp_path / "alone"
    done = launch(
        *("torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port()),
        root=both,
        model=model,
        splits=splits,
        extra=[*flags(options), *([] if variables else ["--shard"])],
        variables=variables or {},
    )
    assert done.returncode == 0, done.stderr
    assert "FSDP2 sharded the base model over 2 processes" in done.stderr
    run_score(alone, model, splits, **options)
    assert relative_norm(importance_of(both), importance_of(alone)) < 1e-6
    files = [root / "score" / "adapter" / "adapter_model.safetensors" for root in (both, alone)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_two_processes_that_share_the_base_equal_one(tmp_path, tiny_model_dir, splits):
    sharded_equals_whole(tmp_path, tiny_model_dir, splits, UNEVEN)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        UNEVEN | MOVEMENT,
        UNEVEN | {"rule": "migu"},
        UNEVEN | {"rule": "gallop"},
        UNEVEN | {"init": "pissa"},
        UNEVEN | {"init": "eva", "rule": "snr"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_rules_and_inits_that_read_weights_do_too(tmp_path, tiny_model_dir, splits, options):
    sharded_equals_whole(tmp_path, tiny_model_dir, splits, options)


@pytest.mark.slow
def test_the_launchers_request_for_fsdp2_is_enough(tmp_path, tiny_model_dir, splits):
    variables = {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
    }
    sharded_equals_whole(tmp_path, tiny_model_dir, splits, UNEVEN, variables)


@pytest.mark.slow
def test_an_init_that_needs_whole_weights_and_data_at_once_is_refused(
    tmp_path, tiny_model_dir, splits
):
    done = launch(
        *("torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port()),
        root=tmp_path,
        model=tiny_model_dir,
        splits=splits,
        extra=["--shard", "--init", "corda"],
    )
    assert done.returncode != 0
    assert "init `corda` does not work with a sharded base model" in done.stderr
    assert not (tmp_path / "score").exists()


def test_importance_does_not_depend_on_the_implementation_of_attention(
    tmp_path, tiny_model_dir, splits
):
    found = {}
    for name in ("eager", "sdpa"):
        run_score(tmp_path / name, tiny_model_dir, splits, attention=name, samples=4)
        found[name] = importance_of(tmp_path / name)
    assert 0 < relative_norm(found["eager"], found["sdpa"]) < 1e-5

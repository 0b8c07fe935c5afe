"""Runs and models that several tests of `score` compare with."""

import pytest

from tests.scoring.score_parts import run_score


@pytest.fixture(scope="session")
def scored(tmp_path_factory, tiny_model_dir, splits):
    """A run directory that is scored in one process with the defaults; only read it."""
    root = tmp_path_factory.mktemp("scored") / "run"
    run_score(root, tiny_model_dir, splits)
    return root


@pytest.fixture(scope="session")
def wider_model_dir(tmp_path_factory, tiny_model_dir):
    """A Llama of hidden size 128: bitsandbytes quantises blocks of 64 values."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("wider")
    config = AutoConfig.from_pretrained(tiny_model_dir)
    config.hidden_size, config.intermediate_size, config.head_dim = 128, 256, 32
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model_dir).save_pretrained(folder)
    return folder

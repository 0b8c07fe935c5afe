"""A model of middling size, whose activations outweigh what a process needs besides."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM


@pytest.fixture(scope="session")
def middling_dir(tmp_path_factory):
    """A folder with a random Llama of ten layers (hidden 256)."""
    folder = tmp_path_factory.mktemp("middling")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=500,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=10,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=1024,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder

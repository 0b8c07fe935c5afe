"""Tiny random models of every family that is scored, and samples to score them on."""

import random

import torch
import transformers as tf

from lorapar_cli.models.adapter import create_adapter
from lorapar_cli.models.data_inits import NEEDS_SAMPLES, InitData
from lorapar_cli.models.rendering.encoding import Encoded

VOCABULARY = 97
QKVGUD = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "down_proj")
_LLAMA_LIKE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}

FAMILIES = {
    "llama": (tf.LlamaConfig, {}, QKVGUD),
    "llama_tied": (tf.LlamaConfig, {"tie_word_embeddings": True}, ("q_proj", "down_proj")),
    "mistral": (tf.MistralConfig, {"sliding_window": 8}, QKVGUD),
    "qwen2": (tf.Qwen2Config, {}, QKVGUD),
    "qwen3": (tf.Qwen3Config, {"head_dim": 8}, QKVGUD),
    "gemma2": (tf.Gemma2Config, {"head_dim": 8}, QKVGUD),
    "gemma3": (tf.Gemma3TextConfig, {"head_dim": 8}, QKVGUD),
    "phi": (tf.PhiConfig, {}, ("q_proj", "k_proj", "v_proj", "fc1", "fc2")),
    "phi3": (tf.Phi3Config, {}, ("qkv_proj", "gate_up_proj", "down_proj")),
    "gpt2": (tf.GPT2Config, {}, ("c_attn", "c_fc", "c_proj")),
    "mixtral": (
        tf.MixtralConfig,
        {"num_local_experts": 4, "num_experts_per_tok": 2},
        ("q_proj", "k_proj", "v_proj"),
    ),
    "qwen2_moe": (
        tf.Qwen2MoeConfig,
        {
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 24,
            "num_experts": 4,
            "num_experts_per_tok": 2,
        },
        QKVGUD,
    ),
    "t5": (tf.T5Config, {}, ("q", "k", "v", "wi", "wo")),
}

_OWN = {
    "gpt2": {
        "vocab_size": VOCABULARY,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 128,
        "bos_token_id": 1,
        "eos_token_id": 1,
    },
    "t5": {
        "vocab_size": VOCABULARY,
        "d_model": 32,
        "d_ff": 48,
        "num_layers": 2,
        "num_heads": 4,
        "d_kv": 8,
        "decoder_start_token_id": 0,
    },
}


def build(family: str) -> torch.nn.Module:
    """Returns a tiny random base model in evaluation mode."""
    config_class, extra, _ = FAMILIES[family]
    torch.manual_seed(0)
    config = config_class(**(_OWN.get(family, _LLAMA_LIKE) | extra))
    loader = tf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else tf.AutoModelForCausalLM
    return loader.from_config(config).float().eval()


def samples(count: int = 9) -> list[Encoded]:
    """Returns samples of different lengths."""
    draw = random.Random(0)
    lengths = [(draw.randint(1, 9), draw.randint(1, 12)) for _ in range(count)]
    return [
        Encoded([draw.randrange(2, VOCABULARY) for _ in range(prompt + completion)], prompt)
        for prompt, completion in lengths
    ]


def adapted(family: str, init: str = "orthogonal", base=None, **options):
    """Returns a family's model, or `base`, with a new adapter of rank 4 on all of its targets."""
    if init in NEEDS_SAMPLES:
        options["data"] = InitData(samples(), 0)
    return create_adapter(
        base or build(family),
        r=4,
        lora_alpha=8,
        target_modules=list(FAMILIES[family][2]),
        init=init,
        seed=0,
        **options,
    ).eval()

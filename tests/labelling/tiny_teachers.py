"""A tiny real Llama that always answers with one label, as a folder and as a GGUF file.

Attention and MLP are silent (their output projections are zero) and every token's embedding is its
own direction, so the model is a table of what follows each token: the assistant's turn begins
`System2`, then ends. Where a grammar leads elsewhere, a quotation mark is the likeliest token.
"""

import itertools
import json


def build_model(folder, digit, tokenizer):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    vocabulary = len(tokenizer)
    hidden = 320
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    follows = _follows(tokenizer, digit)
    with torch.no_grad():
        layer = model.model.layers[0]
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.zero_()
        model.model.embed_tokens.weight[:, :vocabulary] = torch.eye(vocabulary)
        model.lm_head.weight.zero_()
        quote = tokenizer.convert_tokens_to_ids('"')
        model.lm_head.weight[quote, :vocabulary] = 0.1
        for token, following in follows.items():
            model.lm_head.weight[following, token] = 1.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _follows(tokenizer, digit):
    """Token id -> the id that follows it in the answer."""
    chain = ["<|assistant|>", *"System", digit, tokenizer.eos_token]
    ids = tokenizer.convert_tokens_to_ids(chain)
    return dict(itertools.pairwise(ids))


GGUF_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}


def to_llama_cpp(tensor, inner, config):
    """Returns a matrix with its rows where llama.cpp expects them.

    It rotates neighbouring rows of queries and keys, transformers the two halves of a head.
    """
    heads = {
        "self_attn.q_proj": config["num_attention_heads"],
        "self_attn.k_proj": config["num_key_value_heads"],
    }.get(inner.rpartition(".weight")[0].removesuffix(".lora_B"))
    if heads is None:
        return tensor
    rows, columns = tensor.shape
    return (
        tensor.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
    )


def write_gguf(folder, path):
    """Writes the folder's model for llama.cpp."""
    import gguf
    import numpy as np
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    words = json.loads((folder / "tokenizer.json").read_text())
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_vocab_size(config["vocab_size"])
    vocabulary = words["model"]["vocab"]
    special = {token["content"] for token in words["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    patterns = (gguf.TokenType.NORMAL, gguf.TokenType.CONTROL)
    writer.add_token_types([patterns[token in special] for token in tokens])
    # An empty list is not written at all; this one merges two NUL bytes, which never occur.
    writer.add_token_merges(["\u0100 \u0100"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text())
    for name, tensor in load_file(folder / "model.safetensors").items():
        _, _, rest = name.partition("model.layers.")
        block, _, inner = rest.partition(".")
        short = f"blk.{block}.{GGUF_NAMES[inner]}" if rest else GGUF_NAMES[name]
        matrix = to_llama_cpp(tensor, inner, config)
        writer.add_tensor(short, np.ascontiguousarray(matrix.astype(np.float32)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_lora_gguf(adapter, base, path):
    """Writes a PEFT adapter of a folder's model for llama.cpp."""
    import gguf
    import numpy as np
    from safetensors.numpy import load_file

    config = json.loads((base / "config.json").read_text())
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    alpha = json.loads((adapter / "adapter_config.json").read_text())["lora_alpha"]
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(alpha))
    for name, tensor in load_file(adapter / "adapter_model.safetensors").items():
        block, _, inner = name.partition("model.layers.")[2].partition(".")
        module, _, kind = inner.removesuffix(".weight").rpartition(".")
        matrix = to_llama_cpp(tensor, inner, config) if kind == "lora_B" else tensor
        short = f"blk.{block}.{GGUF_NAMES[f'{module}.weight']}.{kind.lower()}"
        writer.add_tensor(short, np.ascontiguousarray(matrix.astype(np.float32)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


LLAMA_SERVER = """
import sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
if len(sys.argv) > 2:
    adapter = xllamacpp.CommonAdapterLoraInfo()
    adapter.path, adapter.scale = sys.argv[2], 1.0
    params.lora_adapters = [adapter]
params.n_ctx = 16384
params.n_parallel = 2
params.port = 0
params.cpuparams.n_threads = 1
params.warmup = False
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
while True:
    time.sleep(60)
"""

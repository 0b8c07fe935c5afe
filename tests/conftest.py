"""Small real parts for every test: a random Llama with its tokenizer, and records to feed it."""

import os
import signal

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("NO_COLOR", "1")
# Models this small gain nothing from more threads, and processes side by side lose.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Workers of pytest-xdist ignore interrupts, and so would the commands that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest

from lorapar_cli.names import System
from lorapar_cli.store.records import Record

pytest_plugins = ["tests.pipeline_runs", "tests.shared_data", "tests.skips"]

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build_tokenizer(chat_template: str | None = CHAT_TEMPLATE):
    """Returns a byte-level tokenizer of 260 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    specials = ["<pad>", "<eos>", "<|user|>", "<|assistant|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate([*specials, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        chat_template=chat_template,
    )


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory):
    """A folder with a random Llama of two layers (hidden 32) and its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def labelled_records() -> list[Record]:
    """Twelve records a system, short for System 1 and with a chain for System 2."""
    records = []
    for i in range(12):
        records.append(
            Record(
                id=f"s1-{i}",
                prompt=f"What is {i} plus {i + 1}?",
                completion=f"#### {2 * i + 1}",
                reference_answer=str(2 * i + 1),
                label=System.SYSTEM1,
                votes={"rules-a": System.SYSTEM1},
                agreement=1.0,
            )
        )
        records.append(
            Record(
                id=f"s2-{i}",
                prompt=f"Tom has {i} apples, buys {i + 2} and loses 1. How many has he?",
                completion=f"{i}+{i + 2}={2 * i + 2}. {2 * i + 2}-1={2 * i + 1}.\n#### {2 * i + 1}",
                reference_answer=str(2 * i + 1),
                label=System.SYSTEM2,
                votes={"rules-a": System.SYSTEM2},
                agreement=1.0,
            )
        )
    return records

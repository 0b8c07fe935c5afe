"""Tokenizers that end every text with a token of their own, made to leave prompts open."""

from typing import cast

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase

from lorapar_cli.errors import LoraparError

_PROBE = "a"


def leave_prompts_open(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Keeps a tokenizer from ending texts with special tokens, such as its end of sequence.

    A completion after such a token is one that the model never generates. What the tokenizer puts in
    front of a text stays.

    Returns:
        Whether there was anything to change.

    Raises:
        LoraparError: The tokenizer does so in code that cannot be configured.
    """
    if not _ends(tokenizer):
        return False
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        tokenizer.add_eos_token = False
    else:
        # Not that attribute: fast tokenizers may lose what stands in front with it.
        _keep_front(tokenizer, cast(Tokenizer, backend))
    if _ends(tokenizer):
        raise LoraparError(
            "the tokenizer ends every text with a token of its own",
            "completions would follow it, where the model has been taught that a text is over",
            "set `add_eos_token` to false in its tokenizer_config.json",
        )
    return True


def _ends(tokenizer: PreTrainedTokenizerBase) -> bool:
    ids = tokenizer(_PROBE)["input_ids"]
    bare = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    return bool(ids) and (ids[-1] == tokenizer.eos_token_id or ids[-1:] != bare[-1:])


def _keep_front(tokenizer: PreTrainedTokenizerBase, backend: Tokenizer) -> None:
    """Replaces the post-processor of a fast tokenizer by one that adds only what stands in front."""
    bare = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    whole = tokenizer(_PROBE)["input_ids"]
    front = whole[: next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)]
    tokens = [(tokenizer.convert_ids_to_tokens(number), number) for number in front]
    backend.post_processor = TemplateProcessing(
        single=[token for token, _ in tokens] + ["$A"],
        pair=[token for token, _ in tokens] + ["$A", "$B"],
        special_tokens=tokens,
    )

"""What a base model writes to prompts: where its distance from an adapter is measured."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from lorapar_cli.models.distributed import ALONE, Processes
from lorapar_cli.models.generation import Decoding, complete_batch, plan_batches
from lorapar_cli.models.peft_adapter import without_adapter
from lorapar_cli.models.rendering.encoding import Encoded

MOST_KL_PROMPTS = 100


def base_completions(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    *,
    max_length: int | None,
    max_new_tokens: int,
    batch_size: int,
    seed: int,
    processes: Processes = ALONE,
    memory_hint: str = "give a smaller `--batch-size`",
) -> list[Encoded]:
    """Returns prompts with what the base model writes to them at temperature 1.

    Where a completion was truncated, it has no end of sequence. Prompts that leave no room and empty
    completions are left out.

    Args:
        model: The base model or one with an adapter, which is taken off meanwhile; in evaluation
            mode.
        prompts: Token ids of each.
        max_length: Number of the model's positions, None where it is not known.
        processes: Each of them completes its share of the batches.
    """
    kept = [n for n, prompt in enumerate(prompts) if not max_length or len(prompt) < max_length]
    written: dict[int, Encoded] = {}
    batches = plan_batches([len(prompts[n]) for n in kept], batch_size)
    with without_adapter(model) as plain:
        for number, batch in processes.share(list(enumerate(batches))):
            places = [kept[index] for index in batch]
            asked = [prompts[n] for n in places]
            decoding = Decoding(max_new_tokens, temperature=1.0).within(max_length, asked)
            done = complete_batch(
                plain,
                tokenizer,
                asked,
                decoding,
                seed=seed * 10_000 + number,
                memory_hint=memory_hint,
            )
            for n, completion in zip(places, done, strict=True):
                tokens = tokenizer(completion.text, add_special_tokens=False)["input_ids"]
                ended = [tokenizer.eos_token_id] if completion.finished else []
                if tokens or ended:
                    written[n] = Encoded([*prompts[n], *tokens, *ended], len(prompts[n]))
    return list(processes.merge(written).values())

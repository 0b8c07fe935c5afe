"""What a learning rate is measured by in RL: rewards of held-out prompts."""

import torch
from transformers import PreTrainedTokenizerBase

from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.generation import Decoding, complete_batch, plan_batches
from lorapar_cli.models.rendering.tokenization import encode_prompt
from lorapar_cli.store.records import Record
from lorapar_cli.training.options import RlOptions
from lorapar_cli.training.recipes.pass_rates import reward_columns
from lorapar_cli.training.rewards.load import WeightedRewards, call_reward

DRAWS = 4
"""Completions of each prompt: for the same cost, more prompts say more than more completions."""


def held_out_rewards(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    records: list[Record],
    rewards: WeightedRewards,
    options: RlOptions,
    room: int | None,
    processes: Processes,
) -> list[float]:
    """Returns each prompt's mean reward over a few completions, weighted as in training.

    The random stream of each batch is the same for every model, so that differences between models
    are less noisy than their rewards.

    Args:
        model: In evaluation mode.
        room: Number of the model's positions, None where there is no limit.
        processes: Each of them samples its share of the batches.
    """
    asked = [record for record in records for _ in range(DRAWS)]
    prompts = [encode_prompt(tokenizer, record.prompt) for record in asked]
    decoding = Decoding(options.max_completion_length, options.temperature)
    batches = plan_batches([len(prompt) for prompt in prompts], options.sample_batch_size)
    found: dict[int, float] = {}
    for number, batch in processes.share(list(enumerate(batches))):
        inputs = [prompts[index] for index in batch]
        completions = complete_batch(
            model,
            tokenizer,
            inputs,
            decoding.within(room, inputs),
            seed=options.seed * 10_000 + number,
            memory_hint="give a smaller `--sample-batch-size`",
        )
        texts = [completion.text for completion in completions]
        of_batch = [asked[index] for index in batch]
        columns = reward_columns(tokenizer, of_batch)
        references = [record.reference_answer for record in of_batch]
        finished = [completion.finished for completion in completions]
        total = [0.0] * len(batch)
        for name, (reward, weight) in rewards.items():
            values = call_reward(name, reward, texts, references, columns, finished)
            total = [so_far + weight * value for so_far, value in zip(total, values, strict=True)]
        found |= dict(zip(batch, total, strict=True))
    every = list(processes.merge(found).values())
    return [sum(every[n : n + DRAWS]) / DRAWS for n in range(0, len(every), DRAWS)]

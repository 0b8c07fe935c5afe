"""Records per second of `eval`'s generation against the loop that most scripts have.

The loop: batches of 8 in the order of the file, left padding, `model.generate`, greedy. Ours: what
`lorapar eval` does by default. Both with the embedded model on its test set, in turns, one round
after the other; completions are compared too.
"""

import statistics
import time
from pathlib import Path

import torch

import lorapar_cli
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.evaluation.tasks.load import load_task
from lorapar_cli.models.base_model import find_base_model, load_base, load_tokenizer
from lorapar_cli.models.generation import Decoding, complete_batch, plan_batches
from lorapar_cli.models.rendering.tokenization import encode_prompt
from lorapar_cli.names import EMBEDDED

ROUNDS = 5
NEW_TOKENS = 64
OURS, LOOP = 64, 8


def complete_in_batches(model, tokenizer, prompts: list[list[int]]) -> list[str]:
    """Returns the completions as `lorapar eval` makes them."""
    texts = [""] * len(prompts)
    for batch in plan_batches([len(prompt) for prompt in prompts], OURS):
        written = complete_batch(
            model, tokenizer, [prompts[place] for place in batch], Decoding(NEW_TOKENS)
        )
        for place, completion in zip(batch, written, strict=True):
            texts[place] = completion.text
    return texts


@torch.inference_mode()
def complete_in_a_loop(model, tokenizer, prompts: list[list[int]]) -> list[str]:
    """Returns the completions as a plain loop over batches of 8 makes them."""
    texts = []
    for start in range(0, len(prompts), LOOP):
        padded = tokenizer.pad(
            {"input_ids": prompts[start : start + LOOP]}, padding_side="left", return_tensors="pt"
        ).to(model.device)
        written = model.generate(**padded, max_new_tokens=NEW_TOKENS, do_sample=False)
        texts += tokenizer.batch_decode(
            written[:, padded["input_ids"].shape[1] :], skip_special_tokens=True
        )
    return texts


def main() -> None:
    """Prints one line a round and the medians."""
    base = find_base_model(EMBEDDED)
    tokenizer, model = load_tokenizer(base), load_base(base)
    data = Path(lorapar_cli.__file__).parent / "embedded" / "data" / "test.jsonl"
    items = load_task(EvalOptions(data=str(data))).items
    prompts = [encode_prompt(tokenizer, item.prompt) for item in items]
    print(f"eval: {len(prompts)} records, {NEW_TOKENS} new tokens, {model.device}")
    ratios = []
    for number in range(ROUNDS):
        seconds, texts = {}, {}
        for complete in (complete_in_batches, complete_in_a_loop):
            started = time.perf_counter()
            texts[complete] = complete(model, tokenizer, prompts)
            seconds[complete] = time.perf_counter() - started
        ours, loop = seconds.values()
        equal = sum(a == b for a, b in zip(*texts.values(), strict=True))
        ratios.append(loop / ours)
        print(
            f"  round {number + 1}: ours {len(prompts) / ours:7.1f} records/s, loop "
            f"{len(prompts) / loop:7.1f} records/s, ratio {loop / ours:.2f}, "
            f"{equal} of {len(prompts)} completions equal"
        )
    print(f"  median ratio {statistics.median(ratios):.2f}, least {min(ratios):.2f}")


if __name__ == "__main__":
    main()

"""Pre-trains the embedded base model from a seed, on one CPU core.

How it differs from an ordinary pre-training run:

1. The text is the corpus' endless stream in chat form; nothing else is read.
2. Prompt tokens have a tenth of the weight in the loss: the questions are templates, the answers
   the task. Each record's tokens are divided by the square root of its answer's length. Without
   that the one-word facts are outweighed by the chains; with it a direct answer counts about three
   times its share when the first word is chosen, which `corpus.DIRECT_SHARE` compensates for.
3. Muon updates the hidden matrices, AdamW the embedding and norms. AdamW alone learns nothing in
   the minutes that this takes.
4. Phase A: right facts and clean chains at a constant learning rate, until the greedy accuracies
   on development records reach `clean_targets` (or after `clean_steps`). Stopping early is
   deliberate: the chains must stay fallible, so that reinforcement can teach more than their form.
5. Phase B: text as found in the wild, while the learning rates decay to zero. Multi-step questions
   are often answered directly, a quarter of the chains have a slip, three quarters of the facts are
   hearsay.
6. Batches are sorted by prompt length only: sorting by the answer's length too would group direct
   answers together, and a batch's mean loss would then overweight them.
7. The result is kept only if both accuracies on development records lie in a band
   (`ACCURACY_BANDS`); otherwise the run is repeated with the next seed. The test set is not used.
8. Weights are computed in float32 and stored in bfloat16.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import (
    BatchEncoding,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from lorapar_cli.embedded.corpus import (
    Record,
    clean_stream,
    development_records,
    held_out_records,
    web_stream,
)
from lorapar_cli.embedded.tokenizer import train_tokenizer

CONTEXT = 1024
ACCURACY_BANDS = {"system1": (0.5, 0.75), "system2": (0.2, 0.5)}


_CARD = """\
# The embedded base model

A Llama of {parameters:,} parameters for demonstrations and tests, pre-trained from nothing on the
generated corpus of `lorapar_cli.embedded`. It knows nothing else. Apache-2.0.

Made by:

    python -m lorapar_cli.embedded model --out DIR {arguments}

| greedy accuracy | System 1 | System 2 |
|---|---|---|
| accepted band | {bands} |
| development records | {development} |
| test set | {test} |

Another processor, thread count or torch release rounds differently and gives another model of
about the same accuracies.
"""


@dataclass(frozen=True)
class Recipe:
    """Settings of one pre-training run. Steps are optimizer steps of `batch` records."""

    seed: int = 0
    clean_steps: int = 2500
    web_steps: int = 300
    batch: int = 32
    muon_rate: float = 0.01
    adam_rate: float = 2e-3
    prompt_weight: float = 0.1
    clean_targets: tuple[float, float] = (0.7, 0.6)
    check_every: int = 100


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by Newton-Schulz iterations, for matrices only.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
    Differs: float32 throughout, and matrices of one shape are orthogonalised as one batch.
    """

    def __init__(self, matrices: list[Tensor], lr: float, momentum: float = 0.95) -> None:
        shapes = sorted({tuple(m.shape) for m in matrices})
        groups = [{"params": [m for m in matrices if tuple(m.shape) == s]} for s in shapes]
        super().__init__(groups, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Updates every matrix from its gradient; there is no loss to return.

        Raises:
            TypeError: A closure is given.
        """
        if closure is not None:
            raise TypeError("Muon does not evaluate closures")
        for group in self.param_groups:
            gradient = torch.stack([m.grad for m in group["params"]])
            momentum = self.state[group["params"][0]].setdefault("momentum", gradient.clone())
            momentum.lerp_(gradient, 1 - group["momentum"])
            update = orthogonalise(gradient.lerp(momentum, group["momentum"]))
            rows, columns = update.shape[-2:]
            scale = group["lr"] * math.sqrt(max(1.0, rows / columns))
            for matrix, change in zip(group["params"], update, strict=True):
                matrix.sub_(change, alpha=scale)


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Returns the matrices `[n, rows, columns]` with their singular values pushed towards 1."""
    x = matrices.mT if matrices.shape[-2] > matrices.shape[-1] else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.mT if matrices.shape[-2] > matrices.shape[-1] else x


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Returns the tokenizer, trained on 20,000 records of the clean stream; the same for every seed."""
    records = islice(clean_stream(0), 20_000)
    return train_tokenizer((f"{r['question']}\n{r['answer']}" for r in records), CONTEXT)


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Returns a randomly initialised Llama of 0.75 million parameters, float32."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def pretrain(
    recipe: Recipe, report: Callable[[str], None]
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Runs both phases once; returns the model in float32 and its tokenizer."""
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, recipe.seed)
    optimizers = _optimizers(model, recipe)
    development = development_records(recipe.seed)
    clean = _batches(clean_stream(recipe.seed), tokenizer, recipe.batch)
    for step in range(1, recipe.clean_steps + 1):
        loss = _train_step(model, next(clean), recipe, optimizers, min(1.0, step / 50))
        if step % recipe.check_every == 0:
            found = accuracy(model, tokenizer, development)
            report(f"phase A step {step}: loss {loss:.3f}, {_as_text(found)}")
            if all(a >= t for a, t in zip(found.values(), recipe.clean_targets, strict=True)):
                break
    web = _batches(web_stream(recipe.seed), tokenizer, recipe.batch)
    for step in range(1, recipe.web_steps + 1):
        decay = 1 - (step - 1) / recipe.web_steps
        loss = _train_step(model, next(web), recipe, optimizers, decay)
        if step % recipe.check_every == 0:
            report(f"phase B step {step}: loss {loss:.3f}")
    return model, tokenizer


def pretrain_within_bands(
    recipe: Recipe, report: Callable[[str], None], attempts: int = 3
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast, Recipe, dict[str, float]]:
    """Repeats the run with other seeds until its accuracies lie in the bands.

    Returns:
        Model, tokenizer, recipe of that run, and accuracy by system on development records. If
        none of the `attempts` qualifies, the last one; `report` says so.
    """
    for attempt in range(attempts):
        tried = replace(recipe, seed=recipe.seed + attempt)
        model, tokenizer = pretrain(tried, report)
        found = accuracy(model, tokenizer, development_records(tried.seed))
        report(f"seed {tried.seed}: {_as_text(found)}")
        if all(low <= found[system] <= high for system, (low, high) in ACCURACY_BANDS.items()):
            return model, tokenizer, tried, found
        report(f"seed {tried.seed}: outside the accuracy bands {ACCURACY_BANDS}")
    return model, tokenizer, tried, found


def make(recipe: Recipe, folder: Path, report: Callable[[str], None], attempts: int = 3) -> None:
    """Trains the model, measures it on the test set once, and writes its folder with a card."""
    model, tokenizer, chosen, development = pretrain_within_bands(recipe, report, attempts)
    save(model, tokenizer, folder)
    stored = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    test = accuracy(stored, tokenizer, held_out_records())
    report(f"test set, as stored: {_as_text(test)}")
    card = _CARD.format(
        parameters=stored.num_parameters(),
        arguments=_as_arguments(chosen),
        development=_as_cells(development),
        test=_as_cells(test),
        bands=" | ".join(f"{low} to {high}" for low, high in ACCURACY_BANDS.values()),
    )
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes a transformers folder: bfloat16 safetensors, tokenizer, greedy generation settings."""
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    cast(torch.nn.Module, model).to(torch.bfloat16)
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    # The padding settings of the last batch would be saved with the tokenizer.
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(folder)


@torch.no_grad()
def accuracy(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, records: list[Record]
) -> dict[str, float]:
    """Returns the share of right greedy answers by system, at most 64 new tokens each."""
    right = {"system1": 0, "system2": 0}
    model.eval()
    for start in range(0, len(records), 200):
        part = records[start : start + 200]
        chats = [[{"role": "user", "content": r["question"]}] for r in part]
        rendered = tokenizer.apply_chat_template(
            chats,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
            padding=True,
            tokenizer_kwargs={"padding_side": "left"},
        )
        inputs = cast(BatchEncoding, rendered)
        # transformers types `generate` for a protocol that its own models do not match.
        output = cast(Any, model).generate(**inputs, max_new_tokens=64, do_sample=False)
        answers = tokenizer.batch_decode(
            output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        for record, answer in zip(part, answers, strict=True):
            right[record["label"]] += final_answer(answer) == final_answer(record["answer"])
    model.train()
    totals = {system: sum(r["label"] == system for r in records) for system in right}
    return {system: right[system] / max(1, totals[system]) for system in right}


def final_answer(text: str) -> str | None:
    """Returns the text after the first `####` up to the end of its line, or None."""
    _, mark, answer = text.partition("####")
    return answer.split("\n")[0].strip() if mark else None


def _batches(
    stream: Iterator[Record], tokenizer: PreTrainedTokenizerFast, batch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields token ids `[batch, longest]` and prompt lengths `[batch]` without end.

    Batches are formed from pools of 32, sorted by prompt length.
    """
    draw = torch.Generator().manual_seed(0)
    while True:
        pool = list(islice(stream, 32 * batch))
        prompts = tokenizer([f"<|user|>{r['question']}<|assistant|>" for r in pool])["input_ids"]
        answers = tokenizer([f"{r['answer']}<|end|>" for r in pool])["input_ids"]
        order = sorted(range(len(pool)), key=lambda i: len(prompts[i]))
        starts = torch.randperm(len(pool) // batch, generator=draw).tolist()
        for start in starts:
            chosen = order[start * batch : (start + 1) * batch]
            rows = [torch.tensor(prompts[i] + answers[i]) for i in chosen]
            ids = torch.nn.utils.rnn.pad_sequence(rows, True, tokenizer.pad_token_id)
            yield ids, torch.tensor([len(prompts[i]) for i in chosen])


def _train_step(
    model: LlamaForCausalLM,
    batch: tuple[Tensor, Tensor],
    recipe: Recipe,
    optimizers: list[torch.optim.Optimizer],
    rate: float,
) -> float:
    """Updates the model on one batch; returns the loss.

    Args:
        rate: Factor of both optimizers' full learning rates.
    """
    ids, prompt_lengths = batch
    targets = ids[:, 1:]
    weights = targets.ne(cast(int, model.config.pad_token_id)).float()
    in_prompt = torch.arange(targets.shape[1]) < (prompt_lengths - 1)[:, None]
    answer_lengths = (weights.sum(1) - (prompt_lengths - 1))[:, None]
    weights = torch.where(in_prompt, weights * recipe.prompt_weight, weights)
    weights = weights / answer_lengths.sqrt()
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    losses = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    loss = (losses * weights.flatten()).sum() / weights.sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer, full_rate in zip(optimizers, (recipe.muon_rate, recipe.adam_rate), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = full_rate * rate
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def _optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    hidden = [p for p in model.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    adam = torch.optim.AdamW(rest, lr=recipe.adam_rate, betas=(0.9, 0.95), weight_decay=0.0)
    return [Muon(hidden, recipe.muon_rate), adam]


def _as_cells(found: dict[str, float]) -> str:
    return f"{found['system1']:.3f} | {found['system2']:.3f}"


def _as_arguments(recipe: Recipe) -> str:
    steps = f"--steps {recipe.clean_steps} --web-steps {recipe.web_steps}"
    return f"--seed {recipe.seed} {steps} --attempts 1"


def _as_text(found: dict[str, float]) -> str:
    return f"System 1 {found['system1']:.3f}, System 2 {found['system2']:.3f}"

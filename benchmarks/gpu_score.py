"""`score` against a loop of one sample at a time and Opacus, at LLaMA2-7B's size on one GPU."""

import importlib.util
import random
import statistics
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.gpu_size import ADAPTER, Size, measured
from benchmarks.score import loop_over_samples
from lorapar_cli.elements.importance import GradientSums
from lorapar_cli.models.adapter import create_adapter
from lorapar_cli.models.batches import BatchLayout, make_batch, sample_losses
from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.scoring.accumulate import GradientPass, make_batches, sum_gradients, token_limit
from lorapar_cli.scoring.gradients import scored_values


def draw_samples(size: Size) -> list[Encoded]:
    """Returns samples of about the lengths of GSM8K's records."""
    draw, vocabulary = random.Random(0), size.shape["vocab_size"]
    lengths = [(draw.randint(40, 120), draw.randint(60, 200)) for _ in range(size.samples)]
    return [
        Encoded([draw.randrange(1, vocabulary) for _ in range(prompt + completion)], prompt)
        for prompt, completion in lengths
    ]


def by_score(model: Any, samples: list[Encoded], packing: bool = False) -> torch.Tensor:
    """What `lorapar score` does; returns the sums of g and of its square, `[2, elements]`."""
    sums = GradientSums(
        {name: value.numel() for name, value in scored_values(model, None).items()}, model.device
    )
    sum_gradients(
        model,
        GradientPass(
            samples, [i % 2 for i in range(len(samples))], sums, batch_tokens=0, packing=packing
        ),
        mine=lambda batches: batches,
        pad_token_id=0,
        raw_rank=None,
        after_batch=lambda: None,
    )
    return sums.flat.sum(1)


def by_loop(model: Any, samples: list[Encoded]) -> torch.Tensor:
    """One sample at a time with full logits, as the authors write it; returns the same sums."""
    sums = loop_over_samples(model, samples, list(scored_values(model, None).values()))
    return torch.stack([torch.cat([t.flatten() for t in each]) for each in sums])


def by_opacus(model: Any, samples: list[Encoded]) -> torch.Tensor:
    """Opacus' hooks in our batches, with logits at output positions only; the same sums."""
    from opacus.grad_sample import GradSampleModule

    parameters = list(scored_values(model, None).values())
    first = [torch.zeros_like(p) for p in parameters]
    second = [torch.zeros_like(p) for p in parameters]
    layout = BatchLayout()
    wrapped = GradSampleModule(model, loss_reduction="sum", strict=False)
    # Opacus' hooks do nothing in evaluation mode; there is no dropout that training would switch on.
    model.train()
    try:
        limit = token_limit(model, samples, 0, model.device)
        for indices in make_batches(samples, limit, layout):
            batch = make_batch([samples[i] for i in indices], 0, model.device, layout)
            sample_losses(model, batch).sum().backward()
            for place, parameter in enumerate(parameters):
                first[place] += parameter.grad_sample.sum(0)
                second[place] += parameter.grad_sample.square_().sum(0)
                parameter.grad_sample = None
            model.zero_grad()
    finally:
        wrapped.to_standard_module()
        model.eval()
    return torch.stack([torch.cat([t.flatten() for t in each]) for each in (first, second)])


def measure_score(base: Any, size: Size) -> dict[str, Any]:
    """Returns each way's samples a second and memory, and how far its sums are from the loop's."""
    model = create_adapter(base, init="orthogonal", seed=0, **ADAPTER).eval()
    samples = draw_samples(size)
    ways: dict[str, tuple[Callable[[Any, list[Encoded]], torch.Tensor], list[Encoded]]] = {
        "loop": (by_loop, samples[: size.loop]),
        "score": (by_score, samples),
        "opacus": (by_opacus, samples),
    }
    if importlib.util.find_spec("opacus") is None:
        del ways["opacus"]
    wanted = by_loop(model, samples[: size.loop]).double()
    found: dict[str, Any] = {name: [] for name in ways}
    for name, (way, _) in ways.items():
        difference = way(model, samples[: size.loop]).double() - wanted
        found[f"{name}_off"] = (difference.norm(dim=1) / wanted.norm(dim=1)).tolist()
    for _ in range(size.rounds):
        for name, (way, given) in ways.items():
            one: dict[str, Any] = {}
            with measured(one):
                way(model, given)
            found[name].append(one | {"per_second": len(given) / one["seconds"]})
    tokens = sum(len(sample.input_ids) for sample in samples)
    weights = sum(p.numel() for p in base.parameters() if not p.requires_grad)
    weights -= base.get_input_embeddings().weight.numel()
    median = statistics.median(one["seconds"] for one in found["score"])
    # Forward, and backward to the activations: twice two operations a weight and token.
    found["operations_per_second"] = 4 * weights * tokens / median
    found["matrix_product"] = matrix_product(base.device)
    model.unload()
    return found


def matrix_product(device: torch.device) -> float:
    """Returns the operations a second of a large product in bfloat16."""
    side = 8192 if device.type == "cuda" else 256
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    one: dict[str, Any] = {}
    with measured(one):
        for _ in range(10):
            a @ b
    return 10 * 2 * side**3 / one["seconds"]

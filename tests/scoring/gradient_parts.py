"""Importance by the definition and by the pass over samples, for tests to compare."""

import copy

import numpy as np
import torch

from lorapar_cli.elements.importance import GradientSums, compute_importance
from lorapar_cli.elements.top_sets import Ranking, TopSetMask, importance_keys
from lorapar_cli.models.adapter import adapter_parameters
from lorapar_cli.models.batches import decoder_start_token
from lorapar_cli.scoring.accumulate import GradientPass, sum_gradients
from lorapar_cli.scoring.gradients import scored_values


def one_by_one(model, chosen) -> dict[str, torch.Tensor]:
    """The definition, in float64: each sample alone, unpadded, its gradient by autograd."""
    model = copy.deepcopy(model).double()
    # Grouped matrix products of experts know no float64; the plain loop over experts does.
    model.get_base_model().config._experts_implementation = "eager"
    parameters = adapter_parameters(model)
    mean = {name: torch.zeros_like(p) for name, p in parameters.items()}
    square = {name: torch.zeros_like(p) for name, p in parameters.items()}
    start = decoder_start_token(model)
    for sample in chosen:
        prompt, completion = (
            sample.input_ids[: sample.prompt_length],
            torch.tensor(sample.input_ids[sample.prompt_length :]),
        )
        if start is None:
            logits = model(input_ids=torch.tensor([sample.input_ids])).logits[
                0, len(prompt) - 1 : -1
            ]
        else:
            logits = model(input_ids=torch.tensor([prompt]), labels=completion[None]).logits[0]
        loss = torch.nn.functional.cross_entropy(logits, completion)
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        for name, gradient in zip(parameters, gradients, strict=True):
            mean[name] += gradient / len(chosen)
            square[name] += gradient**2 / len(chosen)
    return {
        name: (mean[name] * p - square[name] * p * p / 2).abs().detach()
        for name, p in parameters.items()
    }


def scored(
    model, chosen, batch_tokens: int, raw_rank=None, packing=False
) -> tuple[dict, GradientPass, int]:
    values = scored_values(model, raw_rank)
    sums = GradientSums({name: value.numel() for name, value in values.items()})
    halves = [index % 2 for index in range(len(chosen))]
    scoring = GradientPass(chosen, halves, sums, batch_tokens, packing)
    shortages = sum_gradients(
        model,
        scoring,
        mine=lambda batches: batches,
        pad_token_id=0,
        raw_rank=raw_rank,
        after_batch=lambda: None,
    )
    return compute_importance(values, sums, "taylor2"), scoring, shortages


def relative_norm(found: dict, expected: dict) -> float:
    assert found.keys() == expected.keys()
    difference = sum(((found[n].double() - expected[n]) ** 2).sum() for n in expected)
    return (difference / sum((value**2).sum() for value in expected.values())).sqrt().item()


def top_set(importance: dict) -> np.ndarray:
    def keys():
        return (importance_keys(importance[n].float().numpy()) for n in sorted(importance))

    picker = TopSetMask(Ranking(keys).by_share([0.9])[0])
    return np.concatenate([picker.pick(vector) for vector in keys()])

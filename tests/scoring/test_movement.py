"""Movement against Adam restated in float64, and the adapter as it was afterwards."""

import copy

import pytest
import torch

from lorapar_cli.elements.rank_doubling import trained_half
from lorapar_cli.models.adapter import adapter_parameters
from lorapar_cli.models.distributed import Processes
from lorapar_cli.scoring.gradients import scored_values
from lorapar_cli.scoring.movement import (
    SFT_BATCH,
    Part,
    Training,
    draw_steps,
    measure_movement,
    sft_parts,
)
from lorapar_cli.scoring.scored_model import ScoredModel
from tests.scoring.architectures import adapted, samples
from tests.scoring.gradient_parts import relative_norm

ALONE = Processes(0, 1)
RATE = 3e-3


def scored_model(family="llama", init="orthogonal", raw_rank=None) -> ScoredModel:
    model = adapted(family, init).eval()
    return ScoredModel(model, scored_values(model, raw_rank), raw_rank, 0.0, 1.0, [])


def moved(scored, parts_of, steps, packing=False) -> dict[str, torch.Tensor]:
    return measure_movement(
        scored,
        Training(steps, RATE, 0, packing),
        parts_of,
        pad_token_id=0,
        processes=ALONE,
        after_step=lambda done: None,
    )


def by_definition(scored, weighted, steps) -> dict[str, torch.Tensor]:
    """Adam by its formulas in float64, each sample alone; returns the distance of each element."""
    model = copy.deepcopy(scored.model).double()
    parameters = adapter_parameters(model)
    start = {name: p.detach().clone() for name, p in parameters.items()}
    m = {name: torch.zeros_like(p) for name, p in start.items()}
    v = {name: torch.zeros_like(p) for name, p in start.items()}
    for step in range(1, steps + 1):
        loss = torch.zeros((), dtype=torch.float64)
        for sample, weight in weighted(step - 1):
            ids = torch.tensor([sample.input_ids])
            logits = model(input_ids=ids).logits[0, sample.prompt_length - 1 : -1]
            targets = ids[0, sample.prompt_length :]
            loss = loss + weight * torch.nn.functional.cross_entropy(logits, targets)
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        with torch.no_grad():
            for name, g in zip(parameters, gradients, strict=True):
                m[name] = 0.9 * m[name] + 0.1 * g
                v[name] = 0.999 * v[name] + 0.001 * g * g
                direction = (m[name] / (1 - 0.9**step)) / (
                    (v[name] / (1 - 0.999**step)).sqrt() + 1e-8
                )
                if scored.raw_rank is not None:
                    frozen = torch.ones_like(direction)
                    trained_half(name, frozen, scored.raw_rank)[...] = 0
                    direction[frozen == 1] = 0
                parameters[name] -= RATE * direction
    distance = {name: (p - start[name]).abs().detach() for name, p in parameters.items()}
    if scored.raw_rank is not None:
        distance = {n: trained_half(n, d, scored.raw_rank) for n, d in distance.items()}
    return distance


@pytest.mark.parametrize(
    ("init", "raw_rank"), [("orthogonal", None), ("default", None), ("pissa", 4)]
)
def test_movement_equals_adam_in_float64_and_the_adapter_is_reset(init, raw_rank):
    scored, chosen = scored_model(init=init, raw_rank=raw_rank), samples()
    before = {n: p.detach().clone() for n, p in adapter_parameters(scored.model).items()}
    steps = draw_steps(len(chosen), SFT_BATCH, 4, "0 system1")
    expected = by_definition(
        scored, lambda step: [(chosen[i], 1 / SFT_BATCH) for i in steps[step]], 4
    )
    for batch_tokens, packing in ((0, False), (30, False), (40, True)):
        training = Training(4, RATE, batch_tokens, packing)
        found = moved(scored, sft_parts(scored, chosen, training, ALONE, "0 system1"), 4, packing)
        assert relative_norm(found, expected) < 1e-3
        assert all(own.dtype == torch.float32 for own in found.values())
    # With B = 0 the matrices A stand still in the first step and move from the second on.
    assert all(own.any() for own in found.values())
    for name, parameter in adapter_parameters(scored.model).items():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None


def test_weights_may_be_negative_as_those_of_a_policy_gradient():
    scored, chosen = scored_model(), samples(4)
    weights = [0.5, -0.25, -0.25, 1.0]
    parts = [Part(chosen[:3], weights[:3]), Part(chosen[3:], weights[3:])]
    expected = by_definition(scored, lambda step: list(zip(chosen, weights, strict=True)), 3)
    assert relative_norm(moved(scored, lambda step: parts, 3), expected) < 1e-3


def test_the_adapter_is_reset_after_a_failure_too():
    scored, chosen = scored_model(), samples(4)
    before = {n: p.detach().clone() for n, p in adapter_parameters(scored.model).items()}

    def parts_of(step):
        if step == 2:
            raise KeyboardInterrupt
        return [Part(chosen, [0.25] * 4)]

    with pytest.raises(KeyboardInterrupt):
        moved(scored, parts_of, 5)
    assert all(torch.equal(p, before[n]) for n, p in adapter_parameters(scored.model).items())


def test_a_step_without_parts_moves_nothing_at_first():
    found = moved(scored_model(), lambda step: [], 2)
    assert not any(own.any() for own in found.values())


def test_processes_share_a_steps_parts_and_nothing_is_left_out():
    scored, chosen = scored_model(), samples(30)
    training = Training(3, RATE, 40, False)
    whole = sft_parts(scored, chosen, training, ALONE, "seed")
    shares = [sft_parts(scored, chosen, training, Processes(rank, 2), "seed") for rank in range(2)]
    for step in range(3):
        together = [part for share in shares for part in share(step)]
        assert sorted(map(str, together)) == sorted(map(str, whole(step)))
        assert sum(w for part in together for w in part.weights) == pytest.approx(1)


def test_steps_are_shuffled_passes_over_all():
    steps = draw_steps(5, 4, 5, "a")
    assert steps == draw_steps(5, 4, 5, "a") != draw_steps(5, 4, 5, "b")
    stream = [index for step in steps for index in step]
    assert all(sorted(stream[at : at + 5]) == list(range(5)) for at in range(0, 20, 5))

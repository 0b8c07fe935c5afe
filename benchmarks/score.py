"""`score`'s pass over samples against a loop of one sample at a time, as the authors write it."""

import json
import random
import resource
import statistics
import sys
import time
from functools import partial

import torch

from benchmarks.machine import run_python

VOCABULARY = 32_000
SAMPLES = 12


def build_model():
    """Returns a random Llama of hidden size 1024 with the default adapter, float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from lorapar_cli.models.adapter import create_adapter
    from lorapar_cli.names import TARGET_MODULES

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=4,
        num_attention_heads=16,
        pad_token_id=0,
    )
    return create_adapter(
        LlamaForCausalLM(config).eval(),
        r=8,
        lora_alpha=64,
        target_modules=list(TARGET_MODULES),
        init="orthogonal",
        seed=0,
    ).eval()


def draw_samples():
    """Returns samples of about the lengths of GSM8K's records."""
    from lorapar_cli.models.rendering.encoding import Encoded

    draw = random.Random(0)
    lengths = [(draw.randint(40, 120), draw.randint(60, 200)) for _ in range(SAMPLES)]
    return [
        Encoded([draw.randrange(1, VOCABULARY) for _ in range(prompt + completion)], prompt)
        for prompt, completion in lengths
    ]


def loop_over_samples(
    model, samples, parameters=None
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """One sample at a time with full logits, two accumulators a tensor: sums of g and of g²."""
    parameters = parameters or [p for p in model.parameters() if p.requires_grad]
    gradients = [torch.zeros_like(p) for p in parameters]
    fisher = [torch.zeros_like(p) for p in parameters]
    for sample in samples:
        ids = torch.tensor([sample.input_ids], device=model.device)
        labels = ids.clone()
        labels[0, : sample.prompt_length] = -100
        model.zero_grad()
        model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss.backward()
        with torch.no_grad():
            for place, parameter in enumerate(parameters):
                gradients[place] += parameter.grad
                fisher[place] += parameter.grad**2
    model.zero_grad()
    return gradients, fisher


def score_pass(model, samples, packing: bool = False):
    """What `lorapar score` does, at its default batch tokens; returns the sums."""
    from lorapar_cli.elements.importance import GradientSums
    from lorapar_cli.scoring.accumulate import GradientPass, sum_gradients
    from lorapar_cli.scoring.gradients import scored_values

    values = scored_values(model, None)
    sums = GradientSums({name: value.numel() for name, value in values.items()})
    halves = [index % 2 for index in range(len(samples))]
    sum_gradients(
        model,
        GradientPass(samples, halves, sums, batch_tokens=0, packing=packing),
        mine=lambda batches: batches,
        pad_token_id=0,
        raw_rank=None,
        after_batch=lambda: None,
    )
    return sums


def output_pass(model, samples) -> None:
    """What `lorapar score --rule migu` does."""
    from lorapar_cli.models.distributed import Processes
    from lorapar_cli.scoring.gradients import scored_values
    from lorapar_cli.scoring.output_shares import OutputShares, sum_outputs

    rows = {name: value.shape[0] for name, value in scored_values(model, None).items()}
    sum_outputs(
        model,
        samples,
        OutputShares(rows, None),
        batch_tokens=0,
        packing=False,
        processes=Processes(0, 1),
        pad_token_id=0,
        after_batch=lambda size: None,
    )


def movement_pass(model, samples) -> None:
    """What `lorapar score --rule movement` does for SFT: each sample once, in one step."""
    from lorapar_cli.models.distributed import Processes
    from lorapar_cli.scoring.accumulate import make_batches
    from lorapar_cli.scoring.gradients import scored_values
    from lorapar_cli.scoring.movement import BatchLayout, Part, Training, measure_movement
    from lorapar_cli.scoring.scored_model import ScoredModel

    longest = max(len(sample.input_ids) for sample in samples)
    parts = [
        Part([samples[i] for i in batch], [1 / len(samples)] * len(batch))
        for batch in make_batches(samples, longest, BatchLayout())
    ]
    measure_movement(
        ScoredModel(model, scored_values(model, None), None, 0.0, 1.0, []),
        Training(steps=1, rate=2e-4, batch_tokens=0, packing=False),
        lambda step: parts,
        pad_token_id=0,
        processes=Processes(0, 1),
        after_step=lambda done: None,
    )


def rank_by_rule(model, samples, rule: str) -> None:
    """The pass over samples and what `--rule snr` or `gallop` computes of its sums."""
    from lorapar_cli.elements.rules import gallop_importance, snr_importance
    from lorapar_cli.models.base_weights import feature_magnitudes
    from lorapar_cli.scoring.gradients import scored_values

    sums, values = score_pass(model, samples), scored_values(model, None)
    if rule == "snr":
        snr_importance(values, sums)
    else:
        gallop_importance(values, sums, feature_magnitudes(model))


def rank_by_formula(model, samples) -> None:
    """The pass over samples and the paper's formula."""
    from lorapar_cli.elements.importance import compute_importance
    from lorapar_cli.scoring.gradients import scored_values

    compute_importance(scored_values(model, None), score_pass(model, samples), "taylor2")


WAYS = {
    "loop": loop_over_samples,
    "score": score_pass,
    "packing": partial(score_pass, packing=True),
}
RULES = {
    "importance": rank_by_formula,
    "snr": partial(rank_by_rule, rule="snr"),
    "gallop": partial(rank_by_rule, rule="gallop"),
    "migu": output_pass,
    "movement, SFT": movement_pass,
}


def _resident() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def measure_memory(way: str) -> float:
    """Returns one way's peak megabytes above the model, in a process of its own."""
    model, samples = build_model(), draw_samples()
    before = _resident()
    WAYS[way](model, samples)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before


def measure_speed(pairs: int, ways: dict) -> list[dict[str, float]]:
    """Returns the ways' seconds, taken in turns so that other load falls on all."""
    model, samples = build_model(), draw_samples()
    for run in ways.values():
        run(model, samples[:2])
    measured = []
    for _ in range(pairs):
        seconds = {}
        for way, run in ways.items():
            started = time.perf_counter()
            run(model, samples)
            seconds[way] = time.perf_counter() - started
        measured.append(seconds)
    return measured


def main(pairs: int = 5) -> None:
    """Prints speed and memory as ratios of paired runs."""
    output = run_python("-m", "benchmarks.score", "speed", str(pairs)).output
    seconds = json.loads(output.splitlines()[-1])
    speed = [pair["loop"] / pair["score"] for pair in seconds]
    rate = SAMPLES / statistics.median(pair["score"] for pair in seconds)
    peaks = {
        way: json.loads(run_python("-m", "benchmarks.score", way).output.splitlines()[-1])
        for way in WAYS
    }
    print(
        f"score, hidden size 1024: {statistics.median(speed):.2f} times the samples a second of "
        f"a loop over samples ({rate:.2f}/s; pairs {', '.join(f'{x:.2f}' for x in speed)})"
    )
    packed = [pair["score"] / pair["packing"] for pair in seconds]
    print(
        f"score --packing, hidden size 1024: {statistics.median(packed):.2f} times the samples a "
        f"second without it (pairs {', '.join(f'{x:.2f}' for x in packed)})"
    )
    print(
        f"score, hidden size 1024: {peaks['score'] / peaks['loop']:.2f} times the loop's peak "
        f"memory above the model ({peaks['score']:.0f} MB against {peaks['loop']:.0f} MB)"
    )
    compare_rules(pairs)


def compare_rules(pairs: int) -> None:
    """Prints the time of each rule on the same samples, relative to the paper's importance."""
    output = run_python("-m", "benchmarks.score", "rules", str(pairs)).output
    seconds = json.loads(output.splitlines()[-1])
    for rule in RULES:
        ratios = [pair[rule] / pair["importance"] for pair in seconds]
        print(
            f"score --rule {rule}: {statistics.median(ratios):.2f} times the time of importance "
            f"per sample (pairs {', '.join(f'{x:.2f}' for x in ratios)})"
        )


if __name__ == "__main__":
    if sys.argv[1:2] in (["speed"], ["rules"]):
        ways = WAYS if sys.argv[1] == "speed" else RULES
        print(json.dumps(measure_speed(int(sys.argv[2]), ways)))
    elif sys.argv[1:]:
        print(json.dumps(measure_memory(sys.argv[1])))
    else:
        main()

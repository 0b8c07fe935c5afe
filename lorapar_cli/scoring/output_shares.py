"""The pass over one system's samples that sums output magnitudes of its modules: forward only."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from peft import PeftModel

from lorapar_cli.models.batches import (
    BatchLayout,
    decoder_start_token,
    make_batch,
    prediction_logits,
)
from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.placement.sharding import in_step
from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.scoring.accumulate import token_limit

_A = ".lora_A.default"


class OutputShares:
    """Sums over tokens of each output's share in the magnitude of all outputs.

    The outputs of a matrix A are its own. Those of B are the wrapped module's, to which its rows
    add: BA is 0 at the start of training under most inits, where outputs of B alone are 0 or
    rounding.

    Args:
        rows: Name -> number of outputs of the matrix.
        raw_rank: Of a rank-2r adapter, the rank of the raw part, whose outputs of A count; None for
            a plain adapter.

    Attributes:
        flat: `[outputs of all matrices]` float64, sums of shares.
        tokens: `[matrices]` float64, number of tokens that each matrix saw.
    """

    def __init__(
        self, rows: dict[str, int], raw_rank: int | None, device: torch.device | str = "cpu"
    ) -> None:
        self.flat = torch.zeros(sum(rows.values()), dtype=torch.float64, device=device)
        self.tokens = torch.zeros(len(rows), dtype=torch.float64, device=device)
        self._raw_rank = raw_rank
        self._places: dict[str, tuple[int, slice]] = {}
        start = 0
        for index, (name, size) in enumerate(rows.items()):
            self._places[name] = index, slice(start, start + size)
            start += size

    def hook(
        self,
        name: str,
        _module: torch.nn.Module,
        _arguments: tuple[torch.Tensor, ...],
        output: torch.Tensor,
    ) -> None:
        """Forward hook of a matrix A, or of the module around a matrix B: every token counts."""
        if self._raw_rank is not None and ".lora_A" in name:
            output = output[..., : self._raw_rank]
        magnitudes = output.detach().flatten(0, -2).abs().double()
        totals = magnitudes.sum(-1, keepdim=True)
        # Where all outputs are 0 (A = 0) there is no share to divide.
        shares = magnitudes / torch.where(totals > 0, totals, 1.0)
        index, place = self._places[name]
        self.flat[place] += shares.sum(0).to(self.flat.device)
        self.tokens[index] += len(shares)

    def means(self) -> dict[str, torch.Tensor]:
        """Returns name -> mean over tokens of the outputs' shares, `[rows]` float64."""
        return {
            name: self.flat[place] / self.tokens[index].clamp(min=1)
            for name, (index, place) in self._places.items()
        }


@torch.no_grad()
def sum_outputs(
    model: PeftModel,
    samples: list[Encoded],
    sums: OutputShares,
    *,
    batch_tokens: int,
    packing: bool,
    processes: Processes,
    pad_token_id: int,
    after_batch: Callable[[int], None],
) -> None:
    """Adds the outputs of all samples to the sums, those of all processes.

    Args:
        batch_tokens: As of `GradientPass`.
        after_batch: Called with the number of samples of each batch.
    """
    layout = BatchLayout(packing, decoder_start_token(model))
    device = sums.flat.device
    with in_step(model), _watch(model, sums):
        limit = token_limit(model, samples, batch_tokens, device)
        for indices in processes.share(_unpadded(samples, layout, limit)):
            batch = make_batch([samples[i] for i in indices], pad_token_id, device, layout)
            prediction_logits(model, batch)
            after_batch(len(indices))
    processes.add_up(sums.flat)
    processes.add_up(sums.tokens)


def _unpadded(samples: list[Encoded], layout: BatchLayout, limit: int) -> Sequence[list[int]]:
    """Returns batches without padding, which would count as tokens: samples of equal lengths."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index, sample in enumerate(samples):
        length, prompt = len(sample.input_ids), sample.prompt_length
        if layout.packing:
            length = prompt = 0
        elif layout.decoder_start_token is None:
            prompt = 0
        groups.setdefault((length, prompt), []).append(index)
    return [
        batch
        for _, indices in sorted(groups.items(), reverse=True)
        for batch in layout.divide(samples, indices, limit)
    ]


@contextmanager
def _watch(model: PeftModel, sums: OutputShares) -> Iterator[None]:
    with ExitStack() as stack:
        for matrix, module in model.named_modules():
            if matrix.endswith(_A):
                name = matrix.removesuffix(_A)
                for key, watched in (
                    (f"{name}.lora_A.weight", module),
                    (f"{name}.lora_B.weight", model.get_submodule(name)),
                ):
                    handle = watched.register_forward_hook(partial(sums.hook, key))
                    stack.callback(handle.remove)
        yield

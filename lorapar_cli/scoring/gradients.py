"""Per-sample gradients of LoRA matrices, in batches and without a loop over samples.

A LoRA matrix is the weight of a linear map without bias, so one sample's gradient is the product
of the map's input and its output's gradient, summed over that sample's tokens. Both are available
during one backward pass of a whole batch.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from peft import PeftModel

from lorapar_cli.elements.rank_doubling import trained_half
from lorapar_cli.errors import LoraparError
from lorapar_cli.models.adapter import adapter_parameters
from lorapar_cli.models.base_model import transformers_model
from lorapar_cli.models.batches import Batch
from lorapar_cli.plurals import counted

Consume = Callable[[str, torch.Tensor], None]
"""Takes a matrix's key and its gradients `[batch, *shape]` float32, which it may overwrite."""


class GradientCapture:
    """Turns backward passes into per-sample gradients while it is open (`capture_gradients`).

    Each forward and backward pass stands between `begin` and `finish`.

    Args:
        raw_rank: Rank of the raw part of a rank-2r adapter; None for a plain adapter.
        head: Keys of the matrices in the model's output embeddings.
    """

    def __init__(self, raw_rank: int | None, head: frozenset[str]) -> None:
        self._raw_rank = raw_rank
        self._head = head
        self._batch: Batch
        self._consume: Consume
        # Of a packed batch, `[tokens]`, the sample that each token belongs to.
        self._owners: torch.Tensor
        self._open: dict[str, int] = {}
        self._partial: dict[str, torch.Tensor] = {}

    def begin(self, batch: Batch, consume: Consume) -> None:
        """Announces the next batch and discards what is left of one that failed.

        Args:
            consume: Called once for each matrix that the batch uses.
        """
        self._batch, self._consume = batch, consume
        if batch.packed:
            lengths = torch.tensor(batch.lengths)
            owners = torch.arange(batch.size).repeat_interleave(lengths)
            self._owners = owners.to(batch.owners.device)
        self._open.clear()
        self._partial.clear()

    def finish(self) -> None:
        """Hands over matrices that were used several times, some of them without effect on the
        loss.
        """
        for name in list(self._partial):
            self._consume(name, self._partial.pop(name))
        self._open.clear()

    def hook(
        self,
        name: str,
        _module: torch.nn.Module,
        arguments: tuple[torch.Tensor, ...],
        output: torch.Tensor,
    ) -> torch.Tensor:
        """Forward hook of one matrix's linear map."""
        held = [arguments[0].detach()]
        if not output.requires_grad:
            # The first matrices of the model depend on nothing trainable: the graph begins here.
            output = output.detach().requires_grad_()
        self._open[name] = self._open.get(name, 0) + 1
        # Popped, so that inputs are freed as the backward pass proceeds.
        output.register_hook(lambda gradient: self._add(name, held.pop(), gradient))
        return output

    def _add(self, name: str, inputs: torch.Tensor, output_gradient: torch.Tensor) -> None:
        if self._raw_rank is not None:
            if ".lora_A" in name:
                output_gradient = output_gradient[..., : self._raw_rank]
            else:
                inputs = inputs[..., : self._raw_rank]
        gradients = torch.bmm(
            self._by_sample(name, output_gradient).transpose(1, 2), self._by_sample(name, inputs)
        )
        if name in self._partial:
            gradients += self._partial.pop(name)
        self._open[name] -= 1
        if self._open[name]:
            self._partial[name] = gradients
        else:
            self._consume(name, gradients)

    def _by_sample(self, name: str, tokens: torch.Tensor) -> torch.Tensor:
        """Returns `[..., features]` as float32 `[batch, tokens, features]`.

        Raises:
            LoraparError: The shape does not say which token belongs to which sample.
        """
        batch = self._batch
        if name in self._head:
            # They see the predicting positions of all samples in one row (`prediction_logits`).
            return _spread(tokens.flatten(0, -2), batch.owners, batch.size)
        rows = tokens.numel() // tokens.shape[-1]
        if batch.packed:
            if rows == len(self._owners):
                return _spread(tokens.reshape(rows, -1), self._owners, batch.size)
        elif rows % batch.size == 0 and (tokens.dim() == 2 or tokens.shape[0] == batch.size):
            return tokens.reshape(batch.size, -1, tokens.shape[-1]).float()
        raise LoraparError(
            f"the tokens of different samples cannot be distinguished in `{name}`",
            f"its input has shape {list(tokens.shape)} for {counted(batch.size, 'sample')}",
            "choose other modules with `--target-modules`",
        )


def _spread(tokens: torch.Tensor, owners: torch.Tensor, samples: int) -> torch.Tensor:
    """Returns one row of tokens `[tokens, features]` as float32 `[samples, longest, features]`.

    Args:
        owners: `[tokens]`, ascending, the sample of each.
    """
    counts = torch.bincount(owners, minlength=samples)
    starts = counts.cumsum(0) - counts
    places = torch.arange(len(owners), device=owners.device) - starts[owners]
    apart = tokens.new_zeros(samples, int(counts.max()), tokens.shape[-1], dtype=torch.float32)
    apart[owners, places] = tokens.float()
    return apart


def _key(module_name: str) -> str:
    """Returns the key of a LoRA matrix's weight, from the name of its module."""
    return module_name.removesuffix(".default") + ".weight"


@contextmanager
def capture_gradients(model: PeftModel, raw_rank: int | None = None) -> Iterator[GradientCapture]:
    """While open, a backward pass gives the per-sample gradients of every LoRA matrix it uses.

    The matrices themselves are frozen meanwhile: their summed gradient is not needed, so it is not
    computed.

    Args:
        raw_rank: Of a rank-2r adapter (`elements.rank_doubling`), the rank of the raw part, whose
            gradients alone are computed; None for a plain adapter.
    """
    parameters = adapter_parameters(model)
    trainable = {name: parameter.requires_grad for name, parameter in parameters.items()}
    head = set(transformers_model(model).get_output_embeddings().modules())
    capture = GradientCapture(
        raw_rank,
        frozenset(_key(name) for name, module in model.named_modules() if module in head),
    )
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if name.endswith((".lora_A.default", ".lora_B.default")):
                handle = module.register_forward_hook(partial(capture.hook, _key(name)))
                stack.callback(handle.remove)
        for parameter in parameters.values():
            parameter.requires_grad_(False)
        try:
            yield capture
        finally:
            for name, parameter in parameters.items():
                parameter.requires_grad_(trainable[name])


def routes_tokens(model: PeftModel) -> bool:
    """Returns whether a LoRA matrix belongs to a routed expert, which sees only some tokens."""
    return any(".experts." in name for name in adapter_parameters(model))


def scored_values(model: PeftModel, raw_rank: int | None) -> dict[str, torch.Tensor]:
    """Returns name -> element values that are scored, float32, as views.

    Args:
        raw_rank: Of a rank-2r adapter, the rank of the raw part; None for a plain adapter.
    """
    return {
        name: parameter if raw_rank is None else trained_half(name, parameter, raw_rank)
        for name, parameter in adapter_parameters(model).items()
    }

"""Per-sample gradients of LoRA matrices, in batches and without a loop over samples.

A LoRA matrix is the weight of a linear map without bias, so one sample's gradient is the product
of the map's input and its output's gradient, summed over that sample's tokens. Both are at hand
during one backward pass of a whole batch.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from peft import PeftModel

from lorapar_cli.core.doubling import raw_part
from lorapar_cli.errors import LoraparError
from lorapar_cli.hub.models import adapter_parameters
from lorapar_cli.hub.prompts import Encoded

Consume = Callable[[str, torch.Tensor], None]


@dataclass(frozen=True)
class Batch:
    """Padded samples and where their loss lies.

    Attributes:
        inputs: What the model is called with, `[batch, tokens]` each.
        rows, columns: `[predictions]`, the positions whose logits predict completion tokens.
        targets: `[predictions]`, the completion tokens.
        weights: `[predictions]` float32, one over the number of the sample's completion tokens.
    """

    inputs: dict[str, torch.Tensor]
    rows: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.inputs["input_ids"])


def _pad(lists: list[list[int]], value: int, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the lists as one `[batch, longest]` tensor and the mask of what is no padding."""
    longest = max(map(len, lists))
    tokens = torch.full((len(lists), longest), value, dtype=torch.long)
    attended = torch.zeros_like(tokens)
    for row, ids in enumerate(lists):
        start = longest - len(ids) if left else 0
        tokens[row, start : start + len(ids)] = torch.tensor(ids)
        attended[row, start : start + len(ids)] = 1
    return tokens, attended


def make_batch(
    samples: list[Encoded],
    pad_token_id: int,
    device: torch.device,
    padding_side: str = "right",
    decoder_start: int | None = None,
) -> Batch:
    """Returns the samples padded to the longest one, with positions that ignore the padding.

    Args:
        decoder_start: For an encoder-decoder, the token its decoder begins with: the prompt is
            encoded, the completion decoded. None for a model of one stack.
    """
    left = padding_side == "left"
    prompts = [sample.input_ids[: sample.prompt_length] for sample in samples]
    completions = [sample.input_ids[sample.prompt_length :] for sample in samples]
    if decoder_start is None:
        read, first = [sample.input_ids for sample in samples], [len(ids) - 1 for ids in prompts]
    else:
        read, first = prompts, [0] * len(samples)
    tokens, attended = _pad(read, pad_token_id, left)
    inputs = {"input_ids": tokens, "attention_mask": attended}
    if decoder_start is not None:
        shifted = [[decoder_start, *ids[:-1]] for ids in completions]
        inputs["decoder_input_ids"], inputs["decoder_attention_mask"] = _pad(
            shifted, pad_token_id, left=False
        )
    elif left:
        inputs["position_ids"] = (attended.cumsum(1) - 1).clamp(min=0)
        first = [place + tokens.shape[1] - len(ids) for place, ids in zip(first, read, strict=True)]
    # The logits at one position predict the next token.
    columns = [
        place + offset
        for place, ids in zip(first, completions, strict=True)
        for offset in range(len(ids))
    ]
    lengths = torch.tensor([len(ids) for ids in completions])
    return Batch(
        {name: tensor.to(device) for name, tensor in inputs.items()},
        torch.arange(len(samples)).repeat_interleave(lengths).to(device),
        torch.tensor(columns, device=device),
        torch.tensor([token for ids in completions for token in ids], device=device),
        (1 / lengths).repeat_interleave(lengths).to(device),
    )


def prediction_logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Returns the logits where a completion token is predicted, `[predictions, vocabulary]`.

    No other logits are computed: with a vocabulary of 100,000 they would be most of the memory.
    """

    def keep_predictions(_module, arguments):
        return (arguments[0][batch.rows, batch.columns].unsqueeze(0), *arguments[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(keep_predictions)
    try:
        return model(**batch.inputs, use_cache=False).logits[0]
    finally:
        handle.remove()


def sample_losses(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Returns each sample's mean cross-entropy over its completion tokens, `[batch]` float32."""
    logits = prediction_logits(model, batch).float()
    losses = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none")
    return losses.new_zeros(batch.size).index_add(0, batch.rows, losses * batch.weights)


class Capture:
    """Turns backward passes into per-sample gradients while it is open (`capture_gradients`)."""

    def __init__(self, consume: Consume, raw_rank: int | None, head: frozenset[str]) -> None:
        self._consume = consume
        self._raw_rank = raw_rank
        self._head = head
        self._samples = 0
        self._rows = torch.empty(0)
        self._open: dict[str, int] = {}
        self._partial: dict[str, torch.Tensor] = {}

    def begin(self, batch: Batch) -> None:
        """Announces the next batch; forgets one that failed."""
        self._samples = batch.size
        self._rows = batch.rows
        self._open.clear()
        self._partial.clear()

    def finish(self) -> None:
        """Hands over matrices of which some use did not reach the loss."""
        for name in list(self._partial):
            self._consume(name, self._partial.pop(name))
        self._open.clear()

    def hook(self, name: str, _module, arguments, output):
        """Forward hook of one matrix's linear map."""
        held = [arguments[0].detach()]
        if not output.requires_grad:
            # The first matrices of the model depend on nothing trainable: the graph begins here.
            output = output.detach().requires_grad_()
        self._open[name] = self._open.get(name, 0) + 1
        # Popped, so that inputs are freed as the backward pass goes on.
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
        """Returns `[..., features]` as float32 `[batch, tokens, features]`."""
        if name in self._head:
            return self._spread(tokens.flatten(0, -2))
        rows = tokens.numel() // tokens.shape[-1]
        if rows % self._samples or (tokens.dim() > 2 and tokens.shape[0] != self._samples):
            raise LoraparError(
                f"the tokens of different samples cannot be told apart in `{name}`",
                f"its input has shape {list(tokens.shape)} for {self._samples} samples",
                "choose other modules with `--target-modules`",
            )
        return tokens.reshape(self._samples, -1, tokens.shape[-1]).float()

    def _spread(self, tokens: torch.Tensor) -> torch.Tensor:
        """Returns the output embeddings' tokens, `[predictions, features]`, apart by sample.

        They see the predicting positions of all samples in one row (`prediction_logits`).
        """
        counts = torch.bincount(self._rows, minlength=self._samples)
        starts = counts.cumsum(0) - counts
        places = torch.arange(len(self._rows), device=self._rows.device) - starts[self._rows]
        apart = tokens.new_zeros(
            self._samples, int(counts.max()), tokens.shape[-1], dtype=torch.float32
        )
        apart[self._rows, places] = tokens.float()
        return apart


def _key(module_name: str) -> str:
    """Returns the key of a LoRA matrix's weight, from the name of its module."""
    return module_name.removesuffix(".default") + ".weight"


@contextmanager
def capture_gradients(
    model: PeftModel, consume: Consume, raw_rank: int | None = None
) -> Iterator[Capture]:
    """While open, a backward pass hands every LoRA matrix's per-sample gradients to `consume`.

    `consume` gets the matrix's key and `[batch, *shape]` float32, which it may overwrite, once a
    batch. The matrices themselves are frozen meanwhile: their summed gradient is not wanted, so it
    is not computed. Matrices that a batch does not use are not handed over.

    Args:
        raw_rank: Of a rank-2r adapter (`core.doubling`), only the raw part of this rank is wanted.
    """
    parameters = adapter_parameters(model)
    trainable = {name: parameter.requires_grad for name, parameter in parameters.items()}
    head = set(model.get_output_embeddings().modules())
    capture = Capture(
        consume,
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
    """Returns whether a LoRA matrix sits in a routed expert, which sees only some tokens."""
    return any(".experts." in name for name in adapter_parameters(model))


def scored_values(model: PeftModel, raw_rank: int | None) -> dict[str, torch.Tensor]:
    """Returns the element values that are scored, by name, as views."""
    return {
        name: parameter if raw_rank is None else raw_part(name, parameter, raw_rank)
        for name, parameter in adapter_parameters(model).items()
    }

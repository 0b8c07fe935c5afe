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

from lorapar_cli.hub.models import adapter_parameters
from lorapar_cli.hub.prompts import Encoded

Consume = Callable[[str, torch.Tensor], None]


@dataclass(frozen=True)
class Batch:
    """Padded samples and where their loss lies.

    Attributes:
        inputs: What the model is called with: `input_ids` and `attention_mask` `[batch, tokens]`.
        rows, columns: `[predictions]`, the positions whose logits predict completion tokens.
        targets: `[predictions]`, the completion tokens.
        weights: `[predictions]` float32, one over the number of the sample's completion tokens.
    """

    inputs: dict[str, torch.Tensor]
    rows: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor


def make_batch(
    samples: list[Encoded], pad_token_id: int, device: torch.device, padding_side: str = "right"
) -> Batch:
    """Returns the samples padded to the longest one, with positions that ignore the padding."""
    longest = max(len(sample.input_ids) for sample in samples)
    tokens = torch.full((len(samples), longest), pad_token_id, dtype=torch.long)
    attended = torch.zeros_like(tokens)
    rows, columns, targets, weights = [], [], [], []
    for row, sample in enumerate(samples):
        length = len(sample.input_ids)
        start = longest - length if padding_side == "left" else 0
        tokens[row, start : start + length] = torch.tensor(sample.input_ids)
        attended[row, start : start + length] = 1
        # The logits at one position predict the next token.
        columns += range(start + sample.prompt_length - 1, start + length - 1)
        rows += [row] * sample.completion_length
        targets += sample.input_ids[sample.prompt_length :]
        weights += [1 / sample.completion_length] * sample.completion_length
    inputs = {"input_ids": tokens, "attention_mask": attended}
    if padding_side == "left":
        inputs["position_ids"] = (attended.cumsum(1) - 1).clamp(min=0)
    return Batch(
        {name: tensor.to(device) for name, tensor in inputs.items()},
        torch.tensor(rows, device=device),
        torch.tensor(columns, device=device),
        torch.tensor(targets, device=device),
        torch.tensor(weights, device=device),
    )


def sample_losses(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Returns each sample's mean cross-entropy over its completion tokens, `[batch]` float32.

    Logits are computed only where a completion token is predicted.
    """
    head = model.get_output_embeddings()

    def keep_predictions(_module, arguments):
        return (arguments[0][batch.rows, batch.columns].unsqueeze(0), *arguments[1:])

    handle = head.register_forward_pre_hook(keep_predictions)
    try:
        logits = model(**batch.inputs, use_cache=False).logits[0]
    finally:
        handle.remove()
    losses = torch.nn.functional.cross_entropy(logits.float(), batch.targets, reduction="none")
    count = len(batch.inputs["input_ids"])
    return losses.new_zeros(count).index_add(0, batch.rows, losses * batch.weights)


@contextmanager
def capture_gradients(model: PeftModel, consume: Consume) -> Iterator[None]:
    """While open, a backward pass hands every LoRA matrix's per-sample gradients to `consume`.

    `consume` gets the matrix's key and `[batch, *shape]` float32, which it may overwrite, once a
    backward pass. The matrices themselves are frozen meanwhile: their summed gradient is not
    wanted, so it is not computed.
    """
    parameters = adapter_parameters(model)
    trainable = {name: parameter.requires_grad for name, parameter in parameters.items()}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if name.endswith((".lora_A.default", ".lora_B.default")):
                key = name.removesuffix(".default") + ".weight"
                handle = module.register_forward_hook(partial(_capture, _Pending(key, consume)))
                stack.callback(handle.remove)
        for parameter in parameters.values():
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for name, parameter in parameters.items():
                parameter.requires_grad_(trainable[name])


class _Pending:
    """One matrix's gradients until every use of it in the forward pass has been seen."""

    def __init__(self, key: str, consume: Consume) -> None:
        self.key = key
        self.consume = consume
        self.open_calls = 0
        self.gradients: torch.Tensor | None = None

    def add(self, inputs: torch.Tensor, output_gradient: torch.Tensor) -> None:
        gradients = torch.bmm(output_gradient.float().transpose(1, 2), inputs.float())
        self.gradients = gradients if self.gradients is None else self.gradients + gradients
        self.open_calls -= 1
        if self.open_calls == 0:
            gradients, self.gradients = self.gradients, None
            self.consume(self.key, gradients)


def _capture(pending: _Pending, _module, arguments, output):
    inputs = arguments[0].detach()
    if not output.requires_grad:
        # The first matrices of the model depend on nothing trainable: the graph begins here.
        output = output.detach().requires_grad_()
    pending.open_calls += 1
    output.register_hook(lambda gradient: pending.add(inputs, gradient))
    return output

"""What a dry run says of memory."""

import torch

from lorapar_cli.hub.training_callbacks import _bytes


def build_model():
    model = torch.nn.Module()
    model.base = torch.nn.Linear(10, 10, bias=False)
    model.x = torch.nn.ModuleDict({"lora_A": torch.nn.Linear(10, 2, bias=False)})
    model.base.weight.requires_grad_(False)
    return model


def test_bytes_of_whole_matrices():
    model = build_model()
    owned = torch.nn.Parameter(torch.zeros(5))
    found = _bytes(model, torch.optim.SGD([owned]))
    assert list(found.values()) == [400, 80, 80, 40, 40]


def test_bytes_of_matrices_that_zero_3_has_emptied():
    """There `numel` is 0 and the size before dividing is in `ds_numel`."""
    model = build_model()
    for parameter in model.parameters():
        parameter.ds_numel = parameter.numel()
        parameter.data = torch.empty(0)
    part = torch.nn.Parameter(torch.zeros(0))
    found = _bytes(model, torch.optim.SGD([part]))
    assert list(found.values()) == [400, 80, 80, 160, 160]

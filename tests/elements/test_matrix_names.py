"""Where matrices sit, and which part of a rank-2r matrix is the raw adapter's."""

import numpy as np
import pytest

from lorapar_cli.elements.matrix_names import layer_label, matrix_place
from lorapar_cli.elements.rank_doubling import trained_half, widen_mask


@pytest.mark.parametrize(
    ("name", "layer", "module", "matrix"),
    [
        ("base_model.model.model.layers.11.self_attn.q_proj.lora_A.weight", "11", "q_proj", "A"),
        ("base_model.model.transformer.h.3.mlp.c_fc.lora_B.weight", "3", "c_fc", "B"),
        (
            "base_model.model.decoder.block.1.layer.2.DenseReluDense.wi.lora_A.weight",
            "decoder 1",
            "wi",
            "A",
        ),
        ("base_model.model.lm_head.lora_B.weight", "-", "lm_head", "B"),
    ],
)
def test_place_of_a_matrix(name, layer, module, matrix):
    place = matrix_place(name)
    assert (layer_label(place.layer), place.module, place.matrix) == (layer, module, matrix)


@pytest.mark.parametrize(
    ("name", "shape"), [("x.lora_A.weight", (2, 5)), ("x.lora_B.weight", (7, 2))]
)
def test_a_raw_mask_covers_the_first_half_of_a_doubled_matrix(name, shape):
    mask = np.random.default_rng(0).random(shape) > 0.5
    doubled = (4, 5) if "lora_A" in name else (7, 4)
    widened = widen_mask(name, mask, doubled)
    assert widened.shape == doubled
    assert (trained_half(name, widened, 2) == mask).all()
    assert widened.sum() == mask.sum()

"""The place of a matrix in the model, from its name."""

import pytest

from lorapar_cli.elements.matrix_names import layer_label, matrix_place


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


def test_places_sort_by_layer_number_then_module_and_matrix():
    names = [
        f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_{matrix}.weight"
        for layer in (2, 10)
        for module in ("k_proj", "q_proj")
        for matrix in "AB"
    ]
    assert sorted(set(names), key=matrix_place) == names

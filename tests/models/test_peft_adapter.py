"""Adapters other than LoRA: what they compute here is what PEFT computes, with padding and a cache."""

import pytest
import torch
from peft import (
    IA3Config,
    LoHaConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.base_model import find_base_model, load_base, load_tokenizer
from lorapar_cli.models.choices import score_choices
from lorapar_cli.models.generation import Decoding, decode_batch
from lorapar_cli.models.peft_adapter import check_adapter, load_for_evaluation, save_peft_adapter

TASK = {"task_type": "CAUSAL_LM"}
CONFIGS = {
    "prompt": PromptTuningConfig(**TASK, num_virtual_tokens=5),
    "p": PromptEncoderConfig(**TASK, num_virtual_tokens=5),
    "prefix": PrefixTuningConfig(**TASK, num_virtual_tokens=5),
    "ia3": IA3Config(**TASK),
}
PROMPTS = [[70, 71, 72, 73, 74, 75, 76], [80, 81, 82]]


@pytest.fixture(scope="module")
def base(tiny_model_dir):
    return find_base_model(str(tiny_model_dir))


@pytest.fixture(params=CONFIGS)
def adapted(request, base, tmp_path):
    """PEFT's own model with values that matter, and the folder that it was saved to."""
    torch.manual_seed(3)
    model = get_peft_model(load_base(base, "float32"), CONFIGS[request.param])
    with torch.no_grad():
        for each in model.parameters():
            if each.requires_grad:
                each.add_(torch.randn_like(each) * 0.3)
    save_peft_adapter(model, tmp_path / "adapter")
    return model.eval(), tmp_path / "adapter"


def own_logits(model, ids):
    """Returns PEFT's logits of the tokens of one prompt without padding."""
    logits = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).logits
    return logits[0, -len(ids) :]


@torch.inference_mode()
def test_logits_are_pefts(adapted, base):
    theirs, folder = adapted
    ours = load_for_evaluation(load_base(base, "float32"), folder)
    plain = load_base(base, "float32")
    for ids in PROMPTS:
        padded = torch.tensor([[0, 0, *ids]])
        mask = torch.tensor([[0, 0, *[1] * len(ids)]])
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        found = ours(input_ids=padded, attention_mask=mask, position_ids=positions).logits[0, 2:]
        assert torch.allclose(found, own_logits(theirs, ids), atol=1e-5)
        assert not torch.allclose(found, plain(input_ids=torch.tensor([ids])).logits[0], atol=1e-3)


@torch.inference_mode()
def test_greedy_decoding_in_a_batch_takes_pefts_likeliest_tokens(adapted, base):
    theirs, folder = adapted
    ours = load_for_evaluation(load_base(base, "float32"), folder)
    written = decode_batch(ours, load_tokenizer(base), PROMPTS, Decoding(max_new_tokens=6))
    for prompt, tokens in zip(PROMPTS, written, strict=True):
        assert tokens
        for n, token in enumerate(tokens):
            # Without a cache, and each prompt by itself.
            assert int(own_logits(theirs, [*prompt, *tokens[:n]])[-1].argmax()) == token


@torch.inference_mode()
def test_likelihoods_of_choices_are_pefts(adapted, base):
    theirs, folder = adapted
    ours = load_for_evaluation(load_base(base, "float32"), folder)
    items = [[(PROMPTS[0], [90, 91]), (PROMPTS[0], [92])], [(PROMPTS[1], [93]), (PROMPTS[1], [94])]]
    found = score_choices(ours, load_tokenizer(base), items, None)
    for choices, values in zip(items, found, strict=True):
        for (before, after), value in zip(choices, values, strict=True):
            shares = own_logits(theirs, [*before, *after]).log_softmax(-1)
            wanted = sum(float(shares[len(before) - 1 + n, token]) for n, token in enumerate(after))
            assert value == pytest.approx(wanted, abs=1e-4)


@torch.inference_mode()
def test_an_adapter_is_taken_off(adapted, base):
    _, folder = adapted
    loaded = load_base(base, "float32")
    ids = torch.tensor([PROMPTS[0]])
    before = loaded(input_ids=ids).logits
    after = load_for_evaluation(loaded, folder).unload()(input_ids=ids).logits
    assert torch.equal(before, after)


def test_pickled_weights_are_not_read(adapted):
    _, folder = adapted
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(LoraparError, match="no adapter"):
        check_adapter(folder)


def test_other_kinds_are_refused(base, tmp_path):
    model = get_peft_model(
        load_base(base, "float32"), LoHaConfig(r=2, target_modules=["q_proj"], **TASK)
    )
    model.save_pretrained(tmp_path)
    with pytest.raises(LoraparError, match="is not a LoRA adapter"):
        check_adapter(tmp_path)

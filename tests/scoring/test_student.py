"""Which records are scored on, and which models can be."""

import pytest

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models.rendering.chat_template import ChatTemplate
from lorapar_cli.names import System
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.student import encode_system, find_student


@pytest.fixture(scope="module")
def student(tiny_model_dir):
    return find_student(str(tiny_model_dir), ChatTemplate(), ScoreOptions(), [])


def encode(student, records, given=False, **changed):
    options = ScoreOptions(**changed)
    return encode_system(System.SYSTEM2, records, student, options, samples_given=given)


@pytest.fixture(scope="module")
def records(labelled_records):
    return [record for record in labelled_records if record.label is System.SYSTEM2]


def test_all_records_are_used_in_their_order_where_there_are_fewer(student, records):
    encoded = encode(student, records)
    texts = [student.tokenizer.decode(sample.input_ids) for sample in encoded.samples]
    assert len(texts) == len(records)
    for record, text in zip(records, texts, strict=True):
        assert record.prompt in text
        assert record.completion in text
    assert encoded.notes == []
    assert encode(student, records, given=True, samples=50).notes == [
        "system2 has 12 samples, fewer than the 50 asked"
    ]


def test_samples_are_chosen_by_seed(student, records):
    first, again = (encode(student, records, samples=5) for _ in range(2))
    other = encode(student, records, samples=5, seed=1)
    assert len(first.samples) == len(other.samples) == 5
    assert first.samples == again.samples
    assert first.samples != other.samples


def test_too_long_records_are_left_out_and_counted(student, records):
    lengths = [len(sample.input_ids) for sample in encode(student, records).samples]
    limit = sorted(lengths)[5]
    encoded = encode(student, records, max_length=limit)
    kept = sum(length <= limit for length in lengths)
    assert len(encoded.samples) == kept < 12
    assert encoded.too_long == 12 - kept
    assert encoded.notes == [
        f"{12 - kept} system2 records longer than {limit} tokens were left out"
    ]


def test_fewer_than_two_usable_records_are_an_error(student, records):
    with pytest.raises(LoraparError, match="at least 2 records of system2 are needed, 0 can"):
        encode(student, records, max_length=10)


def test_records_that_a_template_leaves_unusable_are_counted(student, records, monkeypatch):
    written = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    opened = "{% if add_generation_prompt %}<assistant>Here are my steps:{% endif %}"
    monkeypatch.setattr(student.tokenizer, "chat_template", written + opened)
    with pytest.raises(LoraparError, match="ends prompts with text") as error:
        encode(student, records)
    assert error.value.found.startswith("12 of 12 records, such as")


def test_an_encoder_decoder_is_not_packed(tmp_path, tiny_model_dir):
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_ff=48, num_layers=2, num_heads=4, d_kv=8,
        decoder_start_token_id=0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    options = ScoreOptions(packing=True, target_modules=("q", "v"))
    with pytest.raises(UsageError, match="--packing"):
        find_student(str(tmp_path / "t5"), ChatTemplate(), options, [])

"""A local model's answers, against transformers' own `generate` one chat at a time."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.labelling.teachers.catalog import find_teachers
from lorapar_cli.labelling.teachers.local_model import BATCH, LocalTeacher
from lorapar_cli.labelling.teachers.student import StudentVoter
from lorapar_cli.labelling.teachers.teacher import with_template_arguments
from lorapar_cli.store.records import Record
from tests.conftest import CHAT_TEMPLATE, build_tokenizer
from tests.labelling.tiny_teachers import build_model

QUESTIONS = ["Hi", "Which system?", "Tom has 12 apples and gives 5 away.", "x" * 70, "?", "aa", "1"]
CHATS = [
    [{"role": "user", "content": "Label it."}, {"role": "user", "content": question}]
    for question in QUESTIONS
]


def write_settings(folder, **settings):
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.fixture
def folder(tmp_path, tiny_model_dir):
    """The random Llama, made to end now and then by a larger score for the end of sequence."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_dir, folder)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][1] *= 3
    weights["lm_head.weight"] *= 20
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def teacher_of(folder, max_tokens=40):
    (teacher,) = find_teachers([f"t=hf:{folder}"])
    return LocalTeacher(replace(teacher, max_tokens=max_tokens))


def generate_alone(folder, chat, **settings):
    """Returns the tokens of the prompt and those that transformers generates after it."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    whole = model.generate(torch.tensor([prompt]), do_sample=False, pad_token_id=0, **settings)
    return prompt, whole[0, len(prompt) :].tolist()


def require_same_answers(folder, max_tokens=40) -> list[int]:
    """Checks every reply against `generate`; returns the numbers of tokens generated."""
    replies = teacher_of(folder, max_tokens).answer(CHATS)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lengths = []
    for chat, reply in zip(CHATS, replies, strict=True):
        prompt, written = generate_alone(folder, chat, max_new_tokens=max_tokens)
        assert reply.text == tokenizer.decode(written, skip_special_tokens=True)
        assert (reply.prompt_tokens, reply.completion_tokens) == (len(prompt), len(written))
        assert reply.cut == (written[-1] != tokenizer.eos_token_id)
        assert not reply.estimated
        lengths.append(len(written))
    return lengths


def test_answers_are_those_of_generate(folder):
    lengths = require_same_answers(folder)
    assert len(set(lengths)) > 2, "answers must end at different steps, or nothing is tested"
    assert min(lengths) < 40


def test_the_models_repetition_penalty_applies(folder):
    plain = [reply.text for reply in teacher_of(folder).answer(CHATS)]
    write_settings(folder, repetition_penalty=1.3)
    require_same_answers(folder)
    assert [reply.text for reply in teacher_of(folder).answer(CHATS)] != plain


def test_settings_for_sampling_do_not_apply(folder):
    plain = teacher_of(folder).answer(CHATS)
    write_settings(folder, do_sample=True, temperature=5.0, top_k=3, top_p=0.5)
    assert teacher_of(folder).answer(CHATS) == plain


def test_the_end_of_sequence_counts_as_a_token_where_it_is_also_padding(folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = teacher_of(folder).answer(CHATS)
    config = folder / "tokenizer_config.json"
    content = json.loads(config.read_text())
    content.pop("pad_token")
    config.write_text(json.dumps(content))
    assert AutoTokenizer.from_pretrained(folder).pad_token is None
    assert tokenizer.pad_token is not None
    assert teacher_of(folder).answer(CHATS) == expected


def test_an_answer_is_as_long_as_it_may_be(folder):
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][1] = 0  # Never the largest logit: the model never ends.
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for most in (3, 300):
        (reply,) = teacher_of(folder, most).answer(CHATS[:1])
        assert (reply.completion_tokens, reply.cut) == (most, True)


def test_the_models_positions_bound_each_batch(folder):
    """512 positions: the longest prompt of a batch leaves the others no more than itself."""
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][1] = 0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    teacher = teacher_of(folder, 1000)
    chats = [[{"role": "user", "content": "x" * length}] for length in (10, 400, 600)]
    short, long, none = teacher.answer(chats)
    assert none is None
    assert long.prompt_tokens + long.completion_tokens == 512
    assert short.completion_tokens == long.completion_tokens
    assert short.cut
    assert long.cut
    (alone,) = teacher.answer(chats[:1])
    assert alone.prompt_tokens + alone.completion_tokens == 512
    assert teacher.answer(chats[2:]) == [None]


def test_an_answer_that_ends_was_not_cut_off(tmp_path, tiny_model_dir):
    folder = build_model(tmp_path / "two", "2", AutoTokenizer.from_pretrained(tiny_model_dir))
    replies = teacher_of(folder, 1024).answer([CHATS[1]] * BATCH)
    for reply in replies:
        assert (reply.text, reply.completion_tokens, reply.cut) == ("System2", 8, False)
        assert reply.label() == "system2"


def test_a_template_that_refuses_the_chat_is_named(folder):
    build_tokenizer(
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        + CHAT_TEMPLATE
    ).save_pretrained(folder)
    with pytest.raises(LoraparError, match="chat template of teacher `t` refuses") as caught:
        teacher_of(folder).answer([[{"role": "system", "content": "s"}]])
    assert "no system role" in caught.value.found


def test_an_encoder_decoder_is_refused(tmp_path):
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=260, d_model=32, d_ff=64, num_layers=1, num_heads=2, d_kv=16)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    build_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(LoraparError, match="teacher `t` is an encoder-decoder"):
        teacher_of(tmp_path)


def switching(folder, tiny_model_dir):
    """Returns a copy of the random Llama whose template writes more where it is told to think."""
    shutil.copytree(tiny_model_dir, folder)
    text = (folder / "chat_template.jinja").read_text()
    more = "{% if enable_thinking is not false %}so {% endif %}"
    answer = "{{ m['content'] }}"
    assert answer in text
    text = text.replace(answer, f"{{% if m.role == 'assistant' %}}{more}{{% endif %}}{answer}")
    (folder / "chat_template.jinja").write_text(
        f"{text}{{% if add_generation_prompt %}}{more}{{% endif %}}"
    )
    return folder


@pytest.mark.parametrize(("value", "more"), [("false", 0), ("true", len("so "))])
def test_arguments_reach_the_chat_template(tmp_path, tiny_model_dir, value, more):
    folder = switching(tmp_path / "model", tiny_model_dir)
    (teacher,) = with_template_arguments(
        find_teachers([f"t=hf:{folder}"]), [f"enable_thinking={value}"]
    )
    chat = [{"role": "user", "content": "Hi"}]
    (reply,) = LocalTeacher(replace(teacher, max_tokens=1)).answer([chat])
    assert reply.prompt_tokens == 4 + more
    with pytest.raises(UsageError, match="does not read `enable_thinking`"):
        LocalTeacher(replace(teacher, model=str(tiny_model_dir)))


def test_arguments_reach_the_student(tmp_path, tiny_model_dir):
    folder = switching(tmp_path / "model", tiny_model_dir)
    plain, switched = (
        with_template_arguments(find_teachers(["student"], model=str(model)), given)
        for model, given in ((tiny_model_dir, []), (folder, ["enable_thinking=false"]))
    )
    record = [Record("a", "1+1?", "2")]
    scores = [StudentVoter(each, with_chain=False).score(record) for (each,) in (plain, switched)]
    assert scores[0] == scores[1]
    (unswitched,) = find_teachers(["student"], model=str(folder))
    assert StudentVoter(unswitched, with_chain=False).score(record) != scores[0]

"""From classify to export, on templates of ten families: every stage is fed the tokens spelled out.

What is compared is what reaches the models: the batches of `classify` and `score`, the collated
rows of SFT with their labels, the prompts of GRPO's loss, those that `eval` generates from, and
those that users of the exported model render.
"""

import shutil
from dataclasses import replace

import pytest
from transformers import AutoTokenizer, DataCollatorForSeq2Seq, LlamaConfig, LlamaForCausalLM
from trl import GRPOTrainer

from lorapar_cli.evaluation.evaluate import evaluate
from lorapar_cli.evaluation.options import EvalOptions
from lorapar_cli.labelling.classify import classify
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.models import batches
from lorapar_cli.models.rendering.chat_template import read_arguments
from lorapar_cli.names import Stage, System
from lorapar_cli.partition.options import PartitionOptions
from lorapar_cli.partition.partition import partition
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.scoring.score import score
from lorapar_cli.store.records import write_records
from lorapar_cli.store.run_dir import RunDir
from lorapar_cli.tools.export import ExportOptions, export
from lorapar_cli.training.options import RlOptions, SftOptions
from lorapar_cli.training.rewards.builtin import REWARDS
from lorapar_cli.training.train_rl import train_rl
from lorapar_cli.training.train_sft import train_sft
from tests.model_families import FAMILIES, Family
from tests.pipeline_runs import write_splits

SFT = SftOptions(
    data="all",
    max_steps=1,
    per_device_batch_size=4,
    gradient_accumulation=1,
    learning_rate=1e-2,
    forgetting=False,
)
RL = RlOptions(
    max_steps=1,
    per_device_batch_size=8,
    gradient_accumulation=1,
    num_generations=2,
    max_completion_length=8,
    learning_rate=1e-2,
    rewards="length",
    forgetting=False,
)


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request) -> Family:
    return request.param


@pytest.fixture
def model(family, tmp_path):
    """A random Llama with the family's tokenizer."""
    import torch

    tokenizer = family.tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def fed(monkeypatch, family):
    """What reached the models, as tokens: kind -> list of sequences, or of context and loss."""
    tokenizer = family.tokenizer()
    found = {"batch": [], "labels": [], "grpo": [], "generate": []}

    def spell(ids):
        return tokenizer.convert_ids_to_tokens([int(token) for token in ids])

    make_batch, call = batches.make_batch, DataCollatorForSeq2Seq.__call__
    compute_loss = GRPOTrainer._compute_loss

    def batch(samples, *arguments, **options):
        made = make_batch(samples, *arguments, **options)
        for owner in range(made.size):
            (row,) = {int(made.rows[i]) for i in range(len(made.owners)) if made.owners[i] == owner}
            columns = [
                int(made.columns[i]) for i in range(len(made.owners)) if made.owners[i] == owner
            ]
            # A position predicts the token behind it.
            counted = [column + 1 for column in columns]
            ids = made.inputs["input_ids"][row][: made.lengths[owner]]
            assert counted == list(range(counted[0], len(ids)))
            found["batch"].append((spell(ids[: counted[0]]), spell(ids[counted[0] :])))
        return made

    def collate(self, *arguments, **options):
        made = call(self, *arguments, **options)
        for ids, labels, mask in zip(
            made["input_ids"], made["labels"], made["attention_mask"], strict=True
        ):
            length = int(mask.sum())
            first = int((labels != -100).nonzero()[0])
            assert (labels[first:length] == ids[first:length]).all()
            assert (labels[length:] == -100).all()
            found["labels"].append((spell(ids[:first]), spell(ids[first:length])))
        return made

    def loss(self, model, inputs):
        for ids, mask in zip(inputs["prompt_ids"], inputs["prompt_mask"], strict=True):
            found["grpo"].append(spell(ids[mask == 1]))
        return compute_loss(self, model, inputs)

    def complete(model, tokenizer, prompts, *arguments, **options):
        found["generate"] += [spell(ids) for ids in prompts]
        return generate(model, tokenizer, prompts, *arguments, **options)

    from lorapar_cli.evaluation import predict
    from lorapar_cli.scoring import accumulate

    generate = predict.complete_batch
    monkeypatch.setattr(batches, "make_batch", batch)
    monkeypatch.setattr(accumulate, "make_batch", batch)
    monkeypatch.setattr(DataCollatorForSeq2Seq, "__call__", collate)
    monkeypatch.setattr(GRPOTrainer, "_compute_loss", loss)
    monkeypatch.setattr(predict, "complete_batch", complete)
    # A random model is never right; the length of its completions differs.
    monkeypatch.setitem(REWARDS, "length", lambda texts, _: [len(set(t)) / 10 for t in texts])
    return found


def unique(sequences):
    """Returns sequences in an order of their own, each once."""
    return sorted({repr(each): each for each in sequences}.items())


def test_every_stage_is_fed_the_tokens_that_are_spelled_out(family, model, fed, tmp_path):
    records = family.records()
    data = tmp_path / "data.jsonl"
    write_records(data, records)
    run_dir = RunDir(tmp_path / "run")
    systems = [System.SYSTEM1, System.SYSTEM2] * 2
    labelled = [replace(one, label=label) for one, label in zip(records, systems, strict=True)]
    write_splits(run_dir, labelled, str(model))

    score(run_dir, ScoreOptions(r=4, dtype="float32", template_arg=family.arguments))
    assert unique(fed["batch"]) == unique(family.trained())
    partition(run_dir, PartitionOptions(theta=0.9))
    train_sft(run_dir, SFT)
    assert unique(fed["labels"]) == unique(family.trained())
    train_rl(run_dir, replace(RL, data=str(data)))
    assert unique(fed["grpo"]) == unique(family.prompts())
    evaluate(run_dir, EvalOptions(data=str(data), adapter=("rl",), max_new_tokens=2))
    assert unique(fed["generate"]) == unique(family.prompts())
    if family.arguments:
        manifests = [run_dir.manifest(stage) for stage in (Stage.SCORE, Stage.TRAIN_RL)]
        assert {tuple(one.settings["template_arg"]) for one in manifests} == {family.arguments}

    export(run_dir, ExportOptions(out=tmp_path / "out", merge=True))
    exported = AutoTokenizer.from_pretrained(tmp_path / "out")
    for record, prompt in zip(records, family.prompts(), strict=True):
        assert spell_prompt(exported, record.prompt) == prompt
        # Whoever serves the model may still ask for the other value.
        for name, value in read_arguments(family.arguments).items():
            assert spell_prompt(exported, record.prompt, **{name: not value}) != prompt


def spell_prompt(tokenizer, prompt, **arguments):
    """Returns the tokens of a prompt as users of an exported model render it."""
    if tokenizer.chat_template is None:
        return tokenizer.convert_ids_to_tokens(tokenizer(prompt + "\n")["input_ids"])
    messages = [{"role": "user", "content": prompt}]
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, **arguments)
    ids = rendered["input_ids"]
    return tokenizer.convert_ids_to_tokens(ids)


def test_the_student_is_asked_as_it_is_scored(family, model, fed, tmp_path):
    """Teacher `student`: the probability of a direct answer behind the same prompt."""
    records = family.records()[:3:2]
    write_records(tmp_path / "data.jsonl", records)
    options = ClassifyOptions(
        data=(str(tmp_path / "data.jsonl"),),
        teachers=("student",),
        model=str(model),
        template_arg=family.arguments if family.template else (),
        holdout=0,
    )
    classify(RunDir(tmp_path / "run"), options)
    assert unique(fed["batch"]) == unique(family.trained()[:3:2])
    shutil.rmtree(tmp_path / "run")

"""`eval` on a random Llama with two adapters: verdicts, intervals, resume, and what is refused."""

import json
import shutil

import pytest
import torch

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.evaluation import predict as asking
from lorapar_cli.evaluation.evaluate import evaluate
from lorapar_cli.evaluation.options import Drawing
from lorapar_cli.grading.answers import answers_match, extract_answer
from lorapar_cli.models.adapter import create_adapter, load_adapter, save_adapter
from lorapar_cli.models.base_model import find_base_model, load_base, load_tokenizer
from lorapar_cli.models.tokenization import encode_prompt
from lorapar_cli.names import Stage
from lorapar_cli.store.atomic import building_folder
from lorapar_cli.store.manifest import Manifest, write_manifest
from lorapar_cli.store.records import read_jsonl, write_jsonl, write_records
from lorapar_cli.store.run_dir import RunDir


@pytest.fixture(scope="module")
def adapters(tiny_model_dir, tmp_path_factory):
    """Two adapters with large random values, so that they answer unlike the base model."""
    folders = {}
    for seed, name in enumerate(("sft", "rl")):
        base = load_base(find_base_model(str(tiny_model_dir)))
        model = create_adapter(
            base, r=4, lora_alpha=32, target_modules=["q_proj", "up_proj"], init="gaussian", seed=0
        )
        torch.manual_seed(seed)
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.3)
        folders[name] = tmp_path_factory.mktemp("adapters") / name
        save_adapter(model, folders[name])
    return folders


@pytest.fixture
def run_dir(tmp_path, tiny_model_dir, adapters, labelled_records):
    """A run directory whose training stages have finished with these adapters."""
    run = RunDir(tmp_path / "run")
    base = find_base_model(str(tiny_model_dir)).to_manifest()
    for stage, name in ((Stage.CLASSIFY, None), (Stage.TRAIN_SFT, "sft"), (Stage.TRAIN_RL, "rl")):
        folder = run.folder(stage)
        folder.mkdir(parents=True)
        if name is None:
            write_records(folder / "heldout.jsonl", labelled_records)
        else:
            (folder / "adapter").symlink_to(adapters[name])
        write_manifest(folder, Manifest(stage=stage, settings={}, base_model=base))
    return run


def ask(run_dir, **settings):
    tokens = settings.pop("max_new_tokens", 12)
    return evaluate(
        run_dir, **({"drawing": Drawing(max_new_tokens=tokens), "batch_size": 5} | settings)
    )


def read_samples(outcome):
    return [line for _, line in read_jsonl(outcome.folder / "samples.jsonl")]


def test_every_model_answers_as_it_does_alone(run_dir, tiny_model_dir, adapters, labelled_records):
    outcome = ask(run_dir)
    samples = read_samples(outcome)
    assert [entry["model"] for entry in outcome.manifest.metrics["models"]] == ["base", "sft", "rl"]
    assert len(samples) == 3 * len(labelled_records)
    base = find_base_model(str(tiny_model_dir))
    tokenizer = load_tokenizer(base)
    texts = set()
    for name in ("base", "sft", "rl"):
        model = load_base(base)
        if name != "base":
            model = load_adapter(model, adapters[name], trainable=False)
        ours = [sample["completion"] for sample in samples if sample["model"] == name]
        for record, text in zip(labelled_records, ours, strict=True):
            ids = torch.tensor([encode_prompt(tokenizer, record.prompt)])
            whole = model.generate(input_ids=ids, max_new_tokens=12, do_sample=False)
            assert text == tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)
        texts.add(tuple(ours))
    assert len(texts) == 3


def test_figures_follow_from_the_samples(run_dir):
    outcome = ask(run_dir)
    results = json.loads((outcome.folder / "results.json").read_text())
    samples = read_samples(outcome)
    assert results["schema"] == 1
    for sample in samples:
        assert sample["extracted"] == extract_answer(sample["completion"])
        assert sample["correct"] == answers_match(sample["extracted"], sample["reference"])
    for entry in results["models"]:
        own = [sample for sample in samples if sample["model"] == entry["model"]]
        assert entry["correct"] == sum(sample["correct"] for sample in own)
        assert entry["n"] == len(own)
        for system, inside in entry["by_system"].items():
            assert inside["n"] == sum(sample["system"] == system for sample in own) == 12
    assert [(pair["model"], pair["against"]) for pair in results["pairs"]] == [
        ("sft", "base"),
        ("rl", "base"),
        ("rl", "sft"),
    ]


def test_same_command_same_files_and_then_up_to_date(run_dir):
    first = ask(run_dir, name="one")
    second = ask(run_dir, name="two")
    for file in ("samples.jsonl", "results.json"):
        assert (first.folder / file).read_bytes() == (second.folder / file).read_bytes()
    assert first.fresh
    assert not ask(run_dir, name="one").fresh
    assert ask(run_dir, name="one", max_new_tokens=3).fresh


def test_interrupted_evaluation_goes_on_to_the_same_files(run_dir, monkeypatch):
    whole = ask(run_dir, name="whole")
    batches = []
    complete = asking.complete_batch
    monkeypatch.setattr(
        asking,
        "complete_batch",
        lambda model, tokenizer, prompts, *rest: (
            batches.append(len(prompts)) or complete(model, tokenizer, prompts, *rest)
        ),
    )
    for stop in (3, 4, 9, 16):
        calls = []

        def interrupt(event, calls=calls, stop=stop):
            calls.append(event)
            if len(calls) == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ask(run_dir, name="broken", progress=interrupt)
        # What a kill in the middle of a write leaves behind.
        work = run_dir.folder(Stage.EVAL) / "broken"
        with open(work / "samples.jsonl", "a") as file:
            file.write('{"model": "sft", "id": "s1-')
    resumed = ask(run_dir, name="broken")
    for file in ("samples.jsonl", "results.json"):
        assert (whole.folder / file).read_bytes() == (resumed.folder / file).read_bytes()
    assert sum(batches) == 3 * 24
    assert sorted(path.name for path in resumed.folder.iterdir()) == [
        "manifest.json",
        "results.json",
        "samples.jsonl",
    ]


def test_interruption_keeps_the_earlier_result(run_dir):
    earlier = ask(run_dir)

    def interrupt(event):
        if event.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(run_dir, max_new_tokens=3, progress=interrupt)
    assert not ask(run_dir).fresh
    assert building_folder(earlier.folder).exists()


def test_own_data_with_truth_labels_and_records_without_reference(run_dir, tmp_path):
    rows = [
        {"question": "1+1?", "answer": "#### 2", "label": "system1", "steps": 1},
        {"question": "1+2-1?", "answer": "3-1=2\n#### 2", "label": "system2", "steps": 2},
        {"instruction": "Say something", "output": "Well, then"},
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = ask(run_dir, data=str(path), adapter=["base"])
    assert outcome.folder == run_dir.folder(Stage.EVAL) / "mine"
    (entry,) = outcome.manifest.metrics["models"]
    assert entry["n"] == 2
    assert {system: inside["n"] for system, inside in entry["by_system"].items()} == {
        "system1": 1,
        "system2": 1,
    }
    assert list(entry["by_steps"]) == ["1", "2"]
    assert outcome.manifest.metrics["pairs"] == []
    assert any("1 records have no reference" in note for note in outcome.manifest.notes)


def test_named_folder_and_order(run_dir, adapters):
    outcome = ask(run_dir, adapter=[f"mine={adapters['rl']}", "base"], limit=4)
    models = outcome.manifest.metrics["models"]
    assert [(entry["model"], entry["n"]) for entry in models] == [("base", 4), ("mine", 4)]


def test_eval_needs_no_run_directory(tmp_path, tiny_model_dir, labelled_records):
    path = tmp_path / "records.jsonl"
    write_records(path, labelled_records)
    run = RunDir(tmp_path / "none")
    outcome = ask(run, data=str(path), model=str(tiny_model_dir))
    assert [entry["model"] for entry in outcome.manifest.metrics["models"]] == ["base"]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"adapter": ["stf"]}, UsageError, "did you mean `sft`"),
        ({"adapter": ["base=somewhere"]}, UsageError, "a name of its own"),
        ({"backend": "vlm"}, UsageError, "did you mean `vllm`"),
        ({"adapter": ["mine=nowhere"]}, LoraparError, "no adapter in `nowhere`"),
        ({"data": "nowhere.jsonl"}, LoraparError, "no such data file"),
        ({"model": "nowhere"}, LoraparError, "cannot load base model"),
        ({"name": "../away"}, UsageError, "plain folder name"),
    ],
)
def test_refused_before_any_work(run_dir, settings, error, message):
    with pytest.raises(error, match=message):
        ask(run_dir, **settings)
    assert not run_dir.folder(Stage.EVAL).exists()


def test_empty_inputs_are_errors(run_dir, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(LoraparError, match="no records"):
        ask(run_dir, data=str(empty))
    unjudged = tmp_path / "unjudged.jsonl"
    unjudged.write_text('{"instruction": "Hi", "output": "Well, hello"}\n')
    with pytest.raises(LoraparError, match="has a reference answer"):
        ask(run_dir, data=str(unjudged))
    heldout = run_dir.folder(Stage.CLASSIFY) / "heldout.jsonl"
    heldout.write_text("")
    with pytest.raises(LoraparError, match="nothing to evaluate on"):
        ask(run_dir)
    heldout.unlink()
    with pytest.raises(LoraparError, match="nothing to evaluate on"):
        ask(run_dir)


def test_two_records_of_one_id_are_refused(run_dir, tmp_path):
    path = tmp_path / "twice.jsonl"
    path.write_text('{"id": "a", "question": "1+1?", "answer": "#### 2"}\n' * 2)
    with pytest.raises(LoraparError, match="two records"):
        ask(run_dir, data=str(path))


def test_an_adapter_of_another_base_is_refused(run_dir, tmp_path, tiny_model_dir):
    other = tmp_path / "other"
    shutil.copytree(tiny_model_dir, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"rope_theta": 5.0}))
    with pytest.raises(LoraparError, match="does not belong"):
        ask(run_dir, model=str(other))


def test_a_prompt_beyond_the_models_positions_is_refused(run_dir, tmp_path):
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps({"id": "a", "question": "x" * 600, "answer": "#### 2"}))
    with pytest.raises(LoraparError, match="leaves no room"):
        ask(run_dir, data=str(path))
    assert not run_dir.folder(Stage.EVAL).exists()


def test_completions_written_elsewhere_need_no_model(tmp_path, labelled_records):
    data, written = tmp_path / "records.jsonl", tmp_path / "completions.jsonl"
    write_records(data, labelled_records)
    write_jsonl(
        written,
        (
            {"id": record.id, "completion": record.completion if draw else "#### -1"}
            for record in labelled_records
            for draw in range(2)
        ),
    )
    given = {"data": str(data), "completions": written}
    with pytest.raises(UsageError, match="needs as many completions"):
        evaluate(RunDir(tmp_path / "run"), drawing=Drawing(k=(3,)), **given)
    outcome = evaluate(RunDir(tmp_path / "run"), drawing=Drawing(k=(1, 2)), **given)
    (entry,) = outcome.manifest.metrics["models"]
    assert entry["model"] == "completions"
    assert entry["accuracy"] == 0
    assert entry["pass_at_k"]["2"]["accuracy"] == 1
    assert len(read_samples(outcome)) == 48


def test_code_runs_only_when_allowed(tmp_path):
    row = {
        "task_id": "T/0",
        "prompt": "def f():\n",
        "entry_point": "f",
        "test": "def check(c):\n    assert c() == 1\n",
    }
    data, written = tmp_path / "problems.jsonl", tmp_path / "completions.jsonl"
    write_jsonl(data, [row])
    write_jsonl(written, [{"task_id": "T/0", "completion": "    return 1\n"}])
    ask_it = {"task": "humaneval", "data": str(data), "completions": written}
    run = RunDir(tmp_path / "run")
    with pytest.raises(UsageError, match="runs code that a model wrote"):
        evaluate(run, **ask_it)
    outcome = evaluate(run, allow_code_execution=True, **ask_it)
    assert outcome.manifest.metrics["models"][0]["accuracy"] == 1
    assert outcome.manifest.settings["sandbox"] in ("bubblewrap", "landlock")


@pytest.mark.parametrize(
    ("drawing", "message"),
    [
        (Drawing(samples=2), "same completion every time"),
        (Drawing(k=(1, 4), samples=2, temperature=1.0), "needs as many samples"),
    ],
)
def test_drawing_that_contradicts_itself(run_dir, drawing, message):
    with pytest.raises(UsageError, match=message):
        evaluate(run_dir, drawing=drawing)

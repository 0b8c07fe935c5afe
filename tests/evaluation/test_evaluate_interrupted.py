"""`eval` interrupted: a resumed run writes the same files and completes nothing twice."""

import pytest

from lorapar_cli.evaluation import predict
from lorapar_cli.names import Artifact, Stage
from lorapar_cli.store.atomic import building_folder


def test_it_resumes_to_the_same_files(run_dir, evaluate_in, monkeypatch):
    whole = evaluate_in(run_dir, name="whole")
    batches = []
    complete = predict.complete_batch
    monkeypatch.setattr(
        predict,
        "complete_batch",
        lambda model, tokenizer, prompts, *rest: (
            batches.append(len(prompts)) or complete(model, tokenizer, prompts, *rest)
        ),
    )
    for stop in (3, 4, 9, 16):
        events = []

        def interrupt(event, events=events, stop=stop):
            events.append(event)
            if len(events) == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            evaluate_in(run_dir, name="broken", progress=interrupt)
        # What a kill in the middle of a write leaves behind.
        work = run_dir.folder(Stage.EVAL) / "broken"
        with open(work / Artifact.SAMPLES, "a") as file:
            file.write('{"model": "sft", "id": "s1-')
    resumed = evaluate_in(run_dir, name="broken")
    for file in (Artifact.SAMPLES, Artifact.RESULTS):
        assert (whole.folder / file).read_bytes() == (resumed.folder / file).read_bytes()
    assert sum(batches) == 3 * 24
    assert sorted(path.name for path in resumed.folder.iterdir()) == [
        "manifest.json",
        "results.json",
        "samples.jsonl",
    ]


def test_the_earlier_result_stays(run_dir, evaluate_in):
    earlier = evaluate_in(run_dir)

    def interrupt(event):
        if event.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_in(run_dir, max_new_tokens=3, progress=interrupt)
    assert not evaluate_in(run_dir).fresh
    assert building_folder(earlier.folder).exists()

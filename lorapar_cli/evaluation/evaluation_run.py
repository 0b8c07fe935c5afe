"""One evaluation: the same for models that are asked and for completions that are given."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorapar_cli.errors import UsageError
from lorapar_cli.evaluation.adapters import Models, adapter_files, check_base
from lorapar_cli.evaluation.given_completions import read_completions
from lorapar_cli.evaluation.metrics import summarize_samples
from lorapar_cli.evaluation.options import Drawing
from lorapar_cli.evaluation.sample_journal import SAMPLES, Sample, SampleJournal, describe_sample
from lorapar_cli.evaluation.tasks.task import Task, TaskOptions, grade_items
from lorapar_cli.events import Advance, Progress, silent
from lorapar_cli.launcher import world_size
from lorapar_cli.names import SCHEMA_VERSION, Stage
from lorapar_cli.store.atomic import atomic_file
from lorapar_cli.store.manifest import (
    Manifest,
    Outcome,
    describe_inputs,
    is_up_to_date,
    read_manifest,
)
from lorapar_cli.store.records import write_jsonl
from lorapar_cli.store.resumable_folder import finish_working_folder, open_working_folder
from lorapar_cli.store.run_dir import RunDir

if TYPE_CHECKING:
    from lorapar_cli.evaluation.predict import Predictor
    from lorapar_cli.models.base_model import BaseModel


WRITTEN_ELSEWHERE = "completions"


@dataclass
class EvaluationRun:
    """One evaluation: the same for models that are asked and for completions that are given."""

    folder: Path
    asked: "TaskOptions"
    task: "Task"
    drawing: Drawing
    sandbox: str | None
    given: list[str]
    progress: Progress

    def ask(
        self,
        run_dir: RunDir,
        models: Models,
        model: str | None,
        backend: str,
        batch_size: int,
        dtype: str,
        trust_remote_code: bool,
    ) -> Outcome:
        """Asks every model every item."""
        from lorapar_cli.evaluation.backends import Answering
        from lorapar_cli.models.base_model import find_base_model
        from lorapar_cli.models.distributed import join_processes

        base_id, revision = run_dir.base_of_adapter(model)
        base = find_base_model(base_id, trust_remote_code)
        check_base(run_dir, models, base, revision)
        own = {
            "models": list(models),
            "base_model": base.to_manifest(),
            "backend": backend,
            "batch_size": batch_size,
            # Adapters are asked as they were trained.
            "template": run_dir.template(),
            "dtype": dtype,
            "trust_remote_code": trust_remote_code,
        }
        manifest = self._manifest(own, describe_inputs(adapter_files(models)))
        manifest.base_model = base.to_manifest()
        if is_up_to_date(self.folder, manifest.settings, manifest.inputs):
            return Outcome(self.folder, read_manifest(self.folder), fresh=False)
        processes = join_processes()
        if processes.count > 1 and backend != "transformers":
            raise UsageError(f"`--backend {backend}` runs in one process, not {processes.count}")
        questions = self._questions(base, batch_size, trust_remote_code, own["template"])
        work = processes.on_main(lambda: open_working_folder(self.folder, manifest, overwrite=True))
        journal = SampleJournal(work, processes.rank)
        # Of several processes the first one's progress stands for all.
        show = self.progress if processes.rank == 0 else silent
        answering = Answering(questions, base, dtype, trust_remote_code, journal, processes, show)
        seconds = answering.ask_all(models, backend)
        processes.wait()

        def finish() -> Manifest:
            journal.read_others()
            manifest.metrics["seconds"] = seconds
            manifest.counts["cut_prompts"] = questions.cut
            return self._finish(work, manifest, journal, list(models))

        return Outcome(self.folder, processes.on_main(finish))

    def _questions(
        self, base: "BaseModel", batch_size: int, trust: bool, template: str | None
    ) -> "Predictor":
        from lorapar_cli.evaluation.predict import Predictor
        from lorapar_cli.models.base_model import load_tokenizer
        from lorapar_cli.models.generation import Decoding

        drawing = self.drawing
        return Predictor(
            self.task,
            load_tokenizer(base, trust, template),
            Decoding(
                drawing.max_new_tokens, drawing.temperature, drawing.top_p, list(self.task.stop)
            ),
            batch_size=batch_size,
            draws=drawing.samples,
            seed=drawing.seed,
            longest=base.max_length,
            sandbox=self.sandbox,
        )

    def judge_file(self, path: Path) -> Outcome:
        """Judges completions that were written elsewhere; loads no model."""

        if self.task.match == "likelihood":
            raise UsageError("`--task mmlu` compares likelihoods and takes no `--completions`")
        if world_size() > 1:
            raise UsageError("`--completions` are judged in one process, on all of its cores")
        written = read_completions(path, self.task)
        fewest = min(written.items(), key=lambda pair: len(pair[1]))
        if max(self.drawing.k) > len(fewest[1]):
            raise UsageError(
                f"`--k {max(self.drawing.k)}` needs as many completions of each item",
                f"`{fewest[0]}` has {len(fewest[1])} in `{path}`",
            )
        manifest = self._manifest(
            {"models": [WRITTEN_ELSEWHERE]}, describe_inputs({"completions": path})
        )
        if is_up_to_date(self.folder, manifest.settings, manifest.inputs):
            return Outcome(self.folder, read_manifest(self.folder), fresh=False)
        work = open_working_folder(self.folder, manifest, overwrite=True)
        journal = SampleJournal(work)
        pairs = [
            (item, draw, text)
            for item in self.task.items
            for draw, text in enumerate(written[item.id])
            if (WRITTEN_ELSEWHERE, item.id, draw) not in journal.known
        ]
        chunk = 64
        for start in range(0, len(pairs), chunk):
            part = pairs[start : start + chunk]
            verdicts = grade_items(
                self.task.match, [one[0] for one in part], [one[2] for one in part], self.sandbox
            )
            journal.append(
                describe_sample(WRITTEN_ELSEWHERE, item, draw, text, verdict)
                for (item, draw, text), verdict in zip(part, verdicts, strict=True)
            )
            self.progress(Advance("grade completions", start + len(part), len(pairs)))
        return Outcome(self.folder, self._finish(work, manifest, journal, [WRITTEN_ELSEWHERE]))

    def _manifest(self, own: dict[str, Any], inputs: dict[str, dict[str, str]]) -> Manifest:
        settings = asdict(self.asked) | asdict(self.drawing) | {"sandbox": self.sandbox} | own
        # Where data lies is not what it is: inputs are compared by content.
        settings.pop("data")
        settings.pop("fewshot_data")
        return Manifest(
            stage=Stage.EVAL,
            settings=settings,
            given=self.given,
            inputs=self.task.inputs | inputs,
            seed=self.drawing.seed,
        )

    def _finish(
        self, work: Path, manifest: Manifest, journal: SampleJournal, models: list[str]
    ) -> Manifest:
        """Writes samples and results, and publishes the folder."""
        samples = _in_order(self.task, models, journal)
        write_jsonl(work / SAMPLES, (line for lines in samples.values() for line in lines))
        journal.remove_others()
        groups = [item.groups for item in self.task.items]
        results = summarize_samples(self.task.match, samples, groups, self.drawing.k)
        manifest.metrics |= results
        manifest.counts |= {
            "items": len(self.task.items),
            "without_reference": self.task.without_reference,
            "tokens": {
                name: sum(line.get("tokens", 0) for line in samples[name]) for name in models
            },
        }
        manifest.notes = self._notes(manifest)
        with atomic_file(work / "results.json") as file:
            head = {"schema": SCHEMA_VERSION, "task": self.task.name, "match": self.task.match}
            json.dump(head | manifest.counts | results, file, indent=2, ensure_ascii=False)
            file.write("\n")
        return finish_working_folder(work, self.folder, manifest)

    def _notes(self, manifest: Manifest) -> list[str]:
        notes, items = [], len(self.task.items)
        if self.task.without_reference:
            notes.append(
                f"{self.task.without_reference:,} records have no reference answer and are left "
                "out of every figure"
            )
        if cut := manifest.counts.get("cut_prompts"):
            notes.append(f"{cut:,} prompts were cut from the left to fit the model")
        notes += [
            f"{entry['cut']:,} of {entry['completions']:,} completions of `{entry['model']}` were "
            f"cut at {self.drawing.max_new_tokens} tokens"
            for entry in manifest.metrics["models"]
            if entry["cut"] > entry["completions"] / 100
        ]
        if self.sandbox == "none":
            notes.append(f"the programs of {items:,} items ran without a sandbox")
        return notes


def _in_order(task: "Task", models: list[str], journal: SampleJournal) -> dict[str, list[Sample]]:
    """Returns each model's samples in the order of the items, draws of one item together."""
    found: dict[tuple[str, str], list[Sample]] = {}
    for (name, item, _), sample in sorted(journal.known.items(), key=lambda pair: pair[0][2]):
        found.setdefault((name, item), []).append(sample)
    return {name: [s for item in task.items for s in found[name, item.id]] for name in models}

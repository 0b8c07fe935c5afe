"""The model card of an export: README.md with the metadata that the Hugging Face Hub reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData, get_token

from lorapar_cli import __version__
from lorapar_cli.names import Stage
from lorapar_cli.store.manifest import Manifest
from lorapar_cli.store.run_dir import AdapterName
from lorapar_cli.tools.markdown import section, table
from lorapar_cli.tools.run_results import RunResults
from lorapar_cli.tools.sharing import card_data
from lorapar_cli.tools.sharing.commands import command_line
from lorapar_cli.tools.sharing.privacy import without_places

CARD = "README.md"
_RECORDS = {"data": "records"}
"""Task -> type of data set in the metadata, where the task's own name says nothing."""
_UNKNOWN_BASE = "BASE_MODEL"
_MASKED = (
    " Each training stage changes only elements of the LoRA matrices that matter to its system; "
    "the others are frozen."
)


@dataclass(frozen=True)
class CardFacts:
    """What a card says that no manifest knows, and what is shared.

    Attributes:
        what: Which adapter of the run.
        merged: Whether the weights are the base model's with the adapter merged in.
        title: The card's heading, the repository's name where one is known.
        base_id: Hub id of the base model; None where the run used a local folder.
        revision: Hub commit of the base model; None where unknown.
        license, license_name, license_link: As the Hub's metadata has them; None where not stated.
    """

    what: AdapterName
    merged: bool
    title: str
    base_id: str | None
    revision: str | None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None


def write_card(run: RunResults, facts: CardFacts, folder: Path) -> list[str]:
    """Writes README.md into a folder and returns what a person has to fill in.

    The card has no path of this machine, no address and no key.
    """
    missing = to_fill_in(run, facts)
    body = without_places(_body(run, facts, missing), filter(None, [get_token()]))
    card = ModelCard(f"---\n{_metadata(run, facts).to_yaml()}\n---\n\n{body}\n")
    (folder / CARD).write_text(str(card), encoding="utf-8")
    return missing


def to_fill_in(run: RunResults, facts: CardFacts) -> list[str]:
    """Returns what neither manifests nor options say, a sentence each."""
    stages = card_data.stages_behind(run, facts.what)
    unknown = []
    if facts.license is None:
        unknown.append("Licence: not stated (`--license`; it must agree with the base model's)")
    if facts.base_id is None:
        unknown.append("Base model: its id on the Hub is not known (`--base-model-id`)")
    if not card_data.hub_data_sets(stages):
        unknown.append("Data: where it can be found, its licence, and `datasets` in the metadata")
    if not card_data.results_of(run, facts.what):
        unknown.append("Results: no evaluation of these very weights is in the run")
    return [*unknown, "Languages, intended use, and what the model should not be used for"]


def _metadata(run: RunResults, facts: CardFacts) -> ModelCardData:
    stages = card_data.stages_behind(run, facts.what)
    tags = ["lora", "lora-par", "lorapar"]
    tags += ["sft"] if Stage.TRAIN_SFT in stages else []
    tags += ["grpo"] if Stage.TRAIN_RL in stages else []
    results = [
        each
        for result in card_data.results_of(run, facts.what)
        if (each := _eval_result(result)) is not None
    ]
    return ModelCardData(
        base_model=facts.base_id,
        base_model_relation=None
        if facts.base_id is None
        else ("finetune" if facts.merged else "adapter"),
        library_name="transformers" if facts.merged else "peft",
        pipeline_tag="text-generation",
        license=facts.license,
        license_name=facts.license_name,
        license_link=facts.license_link,
        datasets=card_data.hub_data_sets(stages) or None,
        tags=tags,
        eval_results=results or None,
        model_name=facts.title if results else None,
        metrics=["accuracy"] if results else None,
    )


def _eval_result(result: card_data.Result) -> EvalResult | None:
    row = result.row
    if row is None or row["accuracy"] is None:
        return None
    task = result.manifest.settings["task"]
    names = card_data.data_names(result.manifest)
    low, high = row["interval"]
    return EvalResult(
        task_type="text-generation",
        dataset_type=names[0] if _is_on_hub(result.manifest) else _RECORDS.get(task, task),
        dataset_name=without_places(names[0]) if names else task,
        metric_type="accuracy",
        metric_value=round(row["accuracy"], 4),
        metric_name=f"accuracy, 95 % interval {low:.4f} to {high:.4f}, n = {row['n']}",
    )


def _is_on_hub(manifest: Manifest) -> bool:
    return manifest.inputs.get("data", {}).get("source") == "hub"


def _body(run: RunResults, facts: CardFacts, missing: list[str]) -> str:
    stages = card_data.stages_behind(run, facts.what)
    results = card_data.results_of(run, facts.what)
    kind = "Merged weights" if facts.merged else "LoRA adapter"
    base = f"`{facts.base_id}`" if facts.base_id else "a base model that is not named on the Hub"
    revision = f" (revision `{facts.revision}`)" if facts.revision and facts.base_id else ""
    active = [row for row in card_data.training_rows(stages) if row[2]]
    share = ", ".join(f"{stage} {share}" for stage, _, share in active)
    return "\n\n".join(
        part
        for part in [
            f"# {facts.title}",
            f"{kind} of {base}{revision}, {_trained(stages)}. "
            "Made with lorapar, which implements LoRA-PAR "
            "([arXiv 2507.20999](https://arxiv.org/abs/2507.20999))."
            + (_MASKED if _is_masked(stages) else "")
            + (f" Active elements: {share}." if share else ""),
            section("Use", _use(facts, stages)),
            section(
                "Training", table(["stage", "what", "active"], card_data.training_rows(stages), 2)
            ),
            _data(stages),
            section("Results", *(card_data.results_section(results) or ["Not evaluated."])),
            _provenance(stages, results),
            section("To fill in", "\n".join(f"- {each}" for each in missing)),
        ]
        if part
    )


def _trained(stages: dict[Stage, Manifest]) -> str:
    names = {Stage.TRAIN_SFT: "supervised fine-tuning", Stage.TRAIN_RL: "reinforcement learning"}
    done = [words for stage, words in names.items() if stage in stages]
    return f"after {' and '.join(done)}" if done else "as initialised, before any training"


def _is_masked(stages: dict[Stage, Manifest]) -> bool:
    return any("mask" in manifest.inputs for manifest in stages.values())


def _use(facts: CardFacts, stages: dict[Stage, Manifest]) -> str:
    base, here = facts.base_id or _UNKNOWN_BASE, facts.title if "/" in facts.title else "FOLDER"
    lines = ["from transformers import AutoModelForCausalLM, AutoTokenizer", ""]
    if facts.merged:
        lines += [
            f'model = AutoModelForCausalLM.from_pretrained("{here}")',
            f'tokenizer = AutoTokenizer.from_pretrained("{here}")',
        ]
    else:
        lines = ["from peft import PeftModel", *lines]
        lines += [
            f'base = AutoModelForCausalLM.from_pretrained("{base}")',
            f'model = PeftModel.from_pretrained(base, "{here}")',
            f'tokenizer = AutoTokenizer.from_pretrained("{base}")',
        ]
    code = "\n".join(["```python", *lines, "```"])
    if any(manifest.settings.get("template") for manifest in stages.values()):
        code += "\n\nIt was trained with a chat template of its own, not that of the base model."
    return code


def _data(stages: dict[Stage, Manifest]) -> str:
    rows, teachers = card_data.data_rows(stages), card_data.teachers_of(stages)
    return section(
        "Data",
        table(["file or data set", "sha256"], rows, 2) if rows else "",
        f"Labelled as System 1 or System 2 by the teachers {', '.join(f'`{t}`' for t in teachers)}."
        if teachers
        else "",
    )


def _provenance(stages: dict[Stage, Manifest], results: list[card_data.Result]) -> str:
    manifests = [*stages.values(), *(result.manifest for result in results)]
    commands = list(dict.fromkeys(command_line(manifest) for manifest in manifests))
    versions: dict[str, Any] = {"lorapar": __version__}
    for manifest in manifests:
        versions |= {"lorapar": manifest.lorapar_version} | manifest.libraries
    return section(
        "How it was made",
        "Files by their names alone; what is not given is the default.",
        "\n".join(["```", *commands, "```"]),
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
    )

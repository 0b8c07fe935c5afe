"""From the options of a classify run to what they name: data, teachers, prompt, settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorapar_cli.data.formats import Fields
from lorapar_cli.data.readers import Source, open_source
from lorapar_cli.errors import UsageError
from lorapar_cli.labelling.options import ClassifyOptions
from lorapar_cli.labelling.teachers.catalog import find_teachers, how_to_price
from lorapar_cli.labelling.teachers.label_prompt import LabelPrompt, read_prompt
from lorapar_cli.labelling.teachers.teacher import (
    Teacher,
    identities,
    with_template_arguments,
)
from lorapar_cli.names import EMBEDDED, Stage
from lorapar_cli.store.manifest import KnownModel, read_manifest
from lorapar_cli.store.reuse import describe_inputs
from lorapar_cli.store.run_dir import RunDir


@dataclass(frozen=True)
class Resolved:
    """What the options of one run name, checked; nothing has been asked or written yet.

    Attributes:
        folder: Stage folder to write.
        settings: The manifest's.
        inputs: The manifest's.
        base_model: The student that an earlier result remembers, or None.
    """

    options: ClassifyOptions
    folder: Path
    source: Source
    teachers: list[Teacher]
    prompt: LabelPrompt
    settings: dict[str, Any]
    inputs: dict[str, dict[str, str]]
    base_model: KnownModel | None


def resolve(run_dir: RunDir, options: ClassifyOptions) -> Resolved:
    """Returns what the options name.

    Raises:
        UsageError: An unknown teacher, or a cost limit on a teacher without a price.
        LoraparError: A file cannot be read, or there is no such data set.
    """
    fields = Fields(
        format=options.format,
        prompt=options.prompt_field,
        completion=options.completion_field,
        id=options.id_field,
        answer=options.answer_field,
        turns=options.turns,
    )
    source = open_source(
        options.data,
        fields,
        split=options.split,
        subset=options.subset,
        limit=options.limit,
        skip_bad=options.skip_bad,
    )
    folder = run_dir.target(Stage.CLASSIFY, options.out)
    earlier = run_dir.manifest(Stage.CLASSIFY) if options.out is None else read_manifest(folder)
    base_model = earlier.base_model if earlier is not None else None
    model = (
        _model_id(options.model) if options.model else (base_model["id"] if base_model else None)
    )
    found = find_teachers(options.teachers, options.teachers_file, model, options.student_chain)
    teachers = with_template_arguments(found, options.template_arg)
    _check_prices(teachers, options.max_cost)
    student = options.student or _short_name(model)
    prompt = read_prompt(
        options.prompt_template,
        role_play=options.role_play,
        student=student,
        description=options.student_description,
    )
    inputs = source.inputs()
    if options.review is not None:
        inputs |= describe_inputs({"review": options.review})
    settings = _settings(options, teachers, prompt, student, model)
    return Resolved(options, folder, source, teachers, prompt, settings, inputs, base_model)


def _settings(
    options: ClassifyOptions,
    teachers: list[Teacher],
    prompt: LabelPrompt,
    student: str | None,
    model: str | None,
) -> dict[str, Any]:
    """Returns the manifest's settings, with None for those that have no effect."""
    reads_prompt = any(teacher.reads_prompt for teacher in teachers)
    names = [teacher.name for teacher in teachers]
    identified = dict(zip(names, identities(teachers), strict=True))
    return {"teachers": identified, **options.settings()} | {
        "share": options.share if options.strategy == "random" else None,
        "role_play": options.role_play if reads_prompt else None,
        "student": student if reads_prompt else None,
        "prompt_sha256": prompt.digest if reads_prompt else None,
        "model": model,
    }


def _check_prices(teachers: list[Teacher], max_cost: float | None) -> None:
    unpriced = [teacher for teacher in teachers if teacher.price is None]
    if max_cost is not None and unpriced:
        raise UsageError(
            "`--max-cost` needs the price of every teacher",
            f"teachers without a price: {', '.join(teacher.name for teacher in unpriced)}",
            how_to_price(unpriced),
        )


def _model_id(model: str) -> str:
    """Returns a model's name as the manifest remembers it, with folders as absolute paths."""
    return str(Path(model).resolve()) if model != EMBEDDED and Path(model).is_dir() else model


def _short_name(model: str | None) -> str | None:
    return model.rstrip("/").rsplit("/", 1)[-1] if model else None

"""The base model to score, before its weights are loaded, and records as its tokens."""

import random
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from lorapar_cli.errors import LoraparError, UsageError
from lorapar_cli.models.base_model import BaseModel, find_base_model, load_tokenizer
from lorapar_cli.models.rendering.chat_template import ChatTemplate
from lorapar_cli.models.rendering.encoding import (
    Encoded,
    UnusableCompletion,
    describe_encoding,
    encode,
    encode_records,
)
from lorapar_cli.names import System
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.scoring.options import ScoreOptions
from lorapar_cli.store.records import Record


@dataclass(frozen=True)
class Student:
    """The base model that the adapter is made for."""

    base: BaseModel
    tokenizer: PreTrainedTokenizerBase


def find_student(
    name: str, template: ChatTemplate, options: ScoreOptions, notes: list[str]
) -> Student:
    """Returns the base model of that name and its tokenizer.

    Args:
        template: How conversations are rendered.
        notes: Where sentences for the manifest are added.

    Raises:
        UsageError: The model cannot be scored with `--packing`.
        LoraparError: There is no such model, or it has no usable tokenizer.
    """
    base = find_base_model(name, options.trust_remote_code)
    if options.packing and base.encoder_decoder:
        raise UsageError(
            "`--packing` works with decoder-only models",
            f"`{name}` is an encoder-decoder, whose attention ignores the boundaries of samples",
            "omit `--packing`",
        )
    return Student(base, load_tokenizer(base, options.trust_remote_code, template, notes))


@dataclass(frozen=True)
class EncodedSystem:
    """The records of one system to score on, as tokens.

    Attributes:
        records: Chosen by seed, in the split's order.
        samples: Their tokens.
        too_long: Number of records passed over because of their length.
        notes: Sentences for the manifest.
    """

    system: System
    records: list[Record]
    samples: list[Encoded]
    too_long: int
    notes: list[str]


def encode_system(
    system: System,
    records: list[Record],
    student: Student,
    options: ScoreOptions,
    *,
    samples_given: bool,
) -> EncodedSystem:
    """Returns the tokens of `options.samples` records, or of all that are short enough.

    Args:
        samples_given: Whether the user asked for that number, and so is told of fewer.

    Raises:
        LoraparError: Fewer than two records are short enough, or the chat template refuses one.
    """
    limit = min(options.max_length, student.base.max_length or options.max_length)
    order = list(range(len(records)))
    random.Random(options.seed).shuffle(order)
    kept: dict[int, Encoded] = {}
    too_long = 0
    for index in order:
        if len(kept) == options.samples:
            break
        try:
            sample = encode(student.tokenizer, records[index])
        except UnusableCompletion:
            encode_records(student.tokenizer, records)  # Says how many records are like this one.
            raise
        if len(sample.input_ids) > limit:
            too_long += 1
        else:
            kept[index] = sample
    if len(kept) < 2:
        raise LoraparError(
            f"at least 2 records of {system} are needed, {len(kept)} can be used",
            f"{counted(len(records), 'record')}, {too_long} of them longer than {counted(limit, 'token')}",
            "add data, or raise `--max-length` up to the model's own limit",
        )
    notes = describe_encoding(list(kept.values()), system.value)
    if too_long:
        notes.append(
            f"{counted(too_long, f'{system} record')} longer than {counted(limit, 'token')} "
            f"{inflected(too_long, 'was', 'were')} left out"
        )
    if samples_given and len(kept) < options.samples:
        notes.append(
            f"{system} has {counted(len(kept), 'sample')}, fewer than the {options.samples} asked"
        )
    chosen = sorted(kept)
    return EncodedSystem(
        system,
        [records[index] for index in chosen],
        [kept[index] for index in chosen],
        too_long,
        notes,
    )

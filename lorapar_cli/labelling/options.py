"""Options of `classify`, each stated once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lorapar_cli.data.files import COMPRESSIONS, SUFFIXES
from lorapar_cli.errors import UsageError
from lorapar_cli.limits import LARGEST_TIMEOUT, MOST_REQUESTS, MOST_TRIES
from lorapar_cli.model_options import model_option, template_arg_option, trust_option
from lorapar_cli.names import DataFormat
from lorapar_cli.options import (
    Options,
    option,
    out_option,
    required,
    seed_option,
)
from lorapar_cli.plurals import counted, inflected

MAX_HELD_OUT = 500
MIN_TEACHERS_TO_WEIGH = 3

OnTie = Literal["system1", "system2", "drop", "error"]

_TEACHERS, _REQUESTS, _DATA = "Teachers", "Requests", "Data"


@dataclass(frozen=True)
class ClassifyOptions(Options):
    """Options of `classify`.

    Raises:
        UsageError: An option out of range, or options that exclude each other.

    Source: LoRA-PAR Sec. 3.1; Tab. 1 for `random`, one teacher, and `no-role-play`.
    """

    data: tuple[str, ...] = required(
        f"Data, one or several of: a file ({', '.join((*SUFFIXES, *COMPRESSIONS))}), a pattern of "
        "files, a folder, a Hub data set, or `-` for standard input.",
        argument=True,
        repeatable=True,
        recorded=False,
    )
    teachers: tuple[str, ...] = option(
        (),
        "Teachers that vote, comma-separated: names listed by `lorapar teachers`, `student`, "
        "`name=model@http://host:port/v1` or `hf:PATH`.",
        panel=_TEACHERS,
        recorded=False,
    )
    model: str | None = model_option()
    strategy: Literal["vote", "random"] = option(
        "vote", "Labels by the teachers' vote, or at random without teachers.", panel=_TEACHERS
    )
    share: float = option(
        0.5,
        "Share of System 2 with `--strategy random`.",
        at_least=0,
        at_most=1,
        panel=_TEACHERS,
    )
    vote: Literal["majority", "weighted"] = option(
        "majority",
        "Majority vote, or votes weighted by each teacher's estimated reliability (Dawid-Skene).",
        panel=_TEACHERS,
    )
    on_tie: OnTie = option(
        "system2", "What becomes of ties and of records without votes.", panel=_TEACHERS
    )
    role_play: bool = option(True, "Have the teachers role-play the student.", panel=_TEACHERS)
    student: str | None = option(
        None,
        "Model that the teachers role-play. Default: the name of `--model`.",
        panel=_TEACHERS,
    )
    student_description: str | None = option(
        None,
        "A sentence about the student, added to the prompt.",
        panel=_TEACHERS,
        recorded=False,
    )
    student_chain: bool = option(
        False,
        "Let teacher `student` also compare its answer behind the record's own reasoning, and vote "
        "System 2 where that more than doubles the answer's probability.",
        panel=_TEACHERS,
    )
    prompt_template: Path | None = option(
        None,
        "File with a prompt template to use instead of the built-in one.",
        panel=_TEACHERS,
        recorded=False,
    )
    template_arg: tuple[str, ...] = template_arg_option(
        "For local teachers, `student` among them.", panel=_TEACHERS
    )
    teachers_file: Path | None = option(
        None,
        "YAML file that defines teachers under `teachers:`.",
        panel=_TEACHERS,
        recorded=False,
    )
    review: Path | None = option(
        None,
        "JSON Lines file with `id` and a person's `label`, which overrides the vote.",
        panel=_TEACHERS,
        recorded=False,
    )
    concurrency: int = option(
        16,
        "Maximum number of concurrent requests to each teacher.",
        at_least=1,
        at_most=MOST_REQUESTS,
        panel=_REQUESTS,
        recorded=False,
    )
    timeout: float = option(
        120.0,
        "Timeout of a request in seconds.",
        at_least=0.1,
        at_most=LARGEST_TIMEOUT,
        panel=_REQUESTS,
        recorded=False,
    )
    retries: int = option(
        8,
        "How often a failed question is retried.",
        at_least=0,
        at_most=MOST_TRIES,
        panel=_REQUESTS,
        recorded=False,
    )
    economy: bool = option(
        False,
        "Skip questions whose answer can no longer change a record's label.",
        panel=_REQUESTS,
    )
    min_votes: int | None = option(
        None,
        "Votes that suffice for a record if a teacher fails. Default: a vote of every teacher.",
        at_least=1,
        panel=_REQUESTS,
    )
    max_cost: float | None = option(
        None,
        "Maximum cost in US dollars of all answers, those of earlier runs included.",
        at_least=0,
        panel=_REQUESTS,
        recorded=False,
    )
    dry_run: bool = option(
        False,
        "Print the number of questions, their estimated cost and one prompt; ask and write "
        "nothing.",
        panel=_REQUESTS,
        recorded=False,
    )
    limit: int | None = option(None, "Use only the first N records.", at_least=1, panel=_DATA)
    holdout: float = option(
        0.05,
        f"Share of the records held out for `eval`, at most {MAX_HELD_OUT} records; 0 for none.",
        at_least=0,
        at_most=0.9,
        panel=_DATA,
    )
    format: DataFormat = option(
        "auto", "Data format; `auto` recognises each record by its fields.", panel=_DATA
    )
    prompt_field: str | None = option(
        None, "Field that holds the prompt; requires `--completion-field`.", panel=_DATA
    )
    completion_field: str | None = option(
        None, "Field that holds the completion; requires `--prompt-field`.", panel=_DATA
    )
    id_field: str = option("id", "Field that holds the record's id.", panel=_DATA)
    answer_field: str | None = option(
        None,
        "Field that holds the reference answer, or a list of accepted ones. Default: the fields "
        "that usually hold it, such as `answer` next to a longer solution.",
        panel=_DATA,
    )
    turns: Literal["last", "all"] = option(
        "last",
        "Assistant messages of a conversation that become completions: the last one, or each in "
        "a record of its own.",
        panel=_DATA,
    )
    split: str = option("train", "Split of a folder or hub data set.", panel=_DATA)
    subset: str | None = option(None, "Configuration of a hub data set.", panel=_DATA)
    skip_bad: bool = option(False, "Skip and count invalid lines.", panel=_DATA)
    seed: int = seed_option()
    trust_remote_code: bool = trust_option()
    out: Path | None = out_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        count = len(self.teachers)
        if self.strategy == "vote" and not count:
            raise UsageError("no teachers", hint="name them with `--teachers`")
        if self.strategy == "random" and count:
            raise UsageError(
                "`--strategy random` asks no teachers",
                f"{count} {inflected(count, 'is', 'are')} named",
                "omit `--teachers`",
            )
        if self.student_chain and "student" not in self.teachers:
            raise UsageError(
                "`--student-chain` is for teacher `student`",
                ", ".join(self.teachers) or "no teachers",
                "add `student` to `--teachers`, or omit `--student-chain`",
            )
        if self.vote == "weighted" and count < MIN_TEACHERS_TO_WEIGH:
            raise UsageError(
                f"`--vote weighted` needs at least {MIN_TEACHERS_TO_WEIGH} teachers",
                f"{count}",
                "the votes of two do not show which of them errs",
            )
        if self.vote == "weighted" and self.economy:
            raise UsageError("`--economy` skips votes that `--vote weighted` needs")
        if self.min_votes is not None and self.min_votes > count:
            raise UsageError(
                f"`--min-votes {self.min_votes}` exceeds the {counted(count, 'teacher')}"
            )

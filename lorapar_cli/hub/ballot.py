"""The ballot: what is known of every teacher's vote on every record, and how the rest is asked.

It starts from the journal, so a question whose answer stands there is never asked again.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from lorapar_cli.core import voting
from lorapar_cli.core.labels import parse_label
from lorapar_cli.hub.endpoint import Reply
from lorapar_cli.hub.indexing import Index
from lorapar_cli.hub.interview import Manner, OnAnswer, Question, Tally, interview
from lorapar_cli.hub.labelling import LabelPrompt
from lorapar_cli.hub.rules import RULES
from lorapar_cli.hub.teachers import Teacher, answer_key, identities, plain_identity
from lorapar_cli.names import Progress, System
from lorapar_cli.store.journal import (
    ASKED_ONCE,
    CODES,
    Answer,
    Journal,
    JournalIndex,
    Known,
    short_key,
)


@dataclass
class Ballot:
    """Every teacher's vote on every record.

    Attributes:
        codes: uint8 `[records, teachers]`, the codes of `core.voting` and `ASKED_ONCE`.
        offsets: int64 `[records, teachers]`, where the journal holds the words, -1 if nowhere.
        known: What the journal knew by teacher when this run began.
        cached: How many of this ballot's questions it had answered, by teacher.
        tallies: What became of the questions that this run asked, by teacher.
    """

    index: Index
    teachers: list[Teacher]
    prompt: LabelPrompt
    codes: np.ndarray
    offsets: np.ndarray
    known: dict[str, Known] = field(default_factory=dict)
    cached: dict[str, int] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._identities = identities(self.teachers)
        self._mine = self.index.owners == np.arange(len(self.index))

    @property
    def votes(self) -> np.ndarray:
        """uint8 `[records, teachers]`: the codes without answers that are still to be repeated."""
        return np.where(self.codes == ASKED_ONCE, voting.UNASKED, self.codes).astype(np.uint8)

    def key(self, column: int, row: int) -> str:
        """Returns the journal's key of a teacher's answer on a record."""
        teacher = self.teachers[column]
        digest = "" if teacher.kind == "rule" else self.prompt.digest
        return answer_key(self._identities[column], digest, self.index.digest(row))

    def unanswered(self) -> np.ndarray:
        """Returns which questions have no final answer yet, bool `[records, teachers]`.

        Of records with the same prompt and completion only the first is asked about, and of empty
        ones none.
        """
        unknown = (self.codes == voting.UNASKED) | (self.codes == ASKED_ONCE)
        return unknown & (self._mine & ~self.index.empty)[:, None]

    def look_up(self, journaled: JournalIndex) -> None:
        """Fills in what the journal knows."""
        for column, teacher in enumerate(self.teachers):
            self._keep_identity(column, journaled)
            known = journaled.look_up(self._short_keys(column))
            self.codes[:, column], self.offsets[:, column] = known.codes, known.offsets
            final = (known.codes != voting.UNASKED) & (known.codes != ASKED_ONCE)
            self.known[teacher.name] = known
            self.cached[teacher.name] = int((final & self._mine & ~self.index.empty).sum())

    def _short_keys(self, column: int) -> np.ndarray:
        keys = (short_key(self.key(column, row)) for row in range(len(self.index)))
        return np.fromiter(keys, np.uint64, len(self.index))

    def _keep_identity(self, column: int, journaled: JournalIndex) -> None:
        """Lets a teacher that answered before another of its model joined keep its answers."""
        teacher, apart = self.teachers[column], self._identities[column]
        plain = plain_identity(teacher)
        if apart == plain:
            return
        self._identities[column] = plain
        if journaled.first_teacher(self._short_keys(column)) != teacher.name:
            self._identities[column] = apart

    def ask(
        self,
        journal: Journal,
        manner: Manner,
        economy_ties_to: int | None,
        trust_remote_code: bool,
        progress: Progress,
    ) -> None:
        """Asks every question without an answer; tallies hold what went wrong.

        Args:
            economy_ties_to: Where a record's label is settled whatever the others say, ask them
                nothing; a tie counts as this system. None asks everybody everything.
        """
        for phase in self._phases(economy_ties_to is not None):
            wanted = self.unanswered()
            if economy_ties_to is not None:
                wanted &= ~self.settled(economy_ties_to)[:, None]
            for column in phase:
                total = int(wanted[:, column].sum())
                self.tallies[self.teachers[column].name] = Tally(self.teachers[column], total)
            asked = [column for column in phase if wanted[:, column].any()]
            self._ask_together(asked, wanted, journal, manner, trust_remote_code, progress)
            for column in phase:
                self.codes[:, column] = self.codes[self.index.owners, column]
                self.offsets[:, column] = self.offsets[self.index.owners, column]

    def _phases(self, in_turn: bool) -> list[list[int]]:
        """Returns the columns that are asked at the same time: rules, then local models one by
        one, since they cost nothing, then all endpoints together.

        In turn, no label is settled before half of the teachers were asked: up to that number
        endpoints go together, the others one after the other.
        """
        kinds = [teacher.kind for teacher in self.teachers]
        rules = [column for column, kind in enumerate(kinds) if kind == "rule"]
        here = [rules, *([column] for column, kind in enumerate(kinds) if kind == "hf")]
        apis = [column for column, kind in enumerate(kinds) if kind == "api"]
        together = len(apis)
        if in_turn:
            together = min(len(apis), max(0, (len(kinds) + 1) // 2 - sum(map(len, here))))
        groups = [apis[:together], *([column] for column in apis[together:])]
        return [group for group in here + groups if group]

    def settled(self, ties_to: int) -> np.ndarray:
        """Returns where no teacher still to be asked can change the label, bool `[records]`."""
        votes = self.votes
        waiting = (votes == voting.UNASKED).sum(axis=1)
        return voting.settled(votes, waiting, ties_to)

    def give_up_refused(self) -> None:
        """Counts questions that a healthy endpoint refused as no vote, in this run only."""
        for column, teacher in enumerate(self.teachers):
            tally = self.tallies.get(teacher.name)
            if tally and tally.refused and tally.refused == tally.left_open and not tally.down:
                waiting = self.unanswered()[:, column]
                self.codes[waiting, column] = voting.NO_VOTE
                self.codes[:, column] = self.codes[self.index.owners, column]

    def _ask_together(
        self,
        columns: list[int],
        wanted: np.ndarray,
        journal: Journal,
        manner: Manner,
        trust_remote_code: bool,
        progress: Progress,
    ) -> None:
        rules = [column for column in columns if self.teachers[column].kind == "rule"]
        if rules:
            self._ask_rules(rules, wanted, journal, progress)
        endpoints = []
        for column in columns:
            teacher = self.teachers[column]
            if teacher.kind == "hf":
                self._ask_local(column, wanted[:, column], journal, trust_remote_code, progress)
            elif teacher.kind == "api":
                questions = self._questions(column, wanted[:, column])
                on_answer = self._recorder(column, journal)
                endpoints.append((self.tallies[teacher.name], questions, on_answer))
        if endpoints:
            interview(endpoints, manner, self.spent(), progress)

    def spent(self) -> float:
        """Returns the US dollars that all answers to this ballot's questions did cost so far."""
        return sum(self.spent_on(teacher) for teacher in self.teachers)

    def spent_on(self, teacher: Teacher) -> float:
        """Returns the US dollars that all of a teacher's answers did cost so far.

        Answers from a time when no price was known are priced now.
        """
        known = self.known[teacher.name]
        unpriced = teacher.price.of(*known.unpriced) if teacher.price else 0.0
        tally = self.tallies.get(teacher.name)
        return known.cost + unpriced + (tally.cost if tally else 0.0)

    def _questions(self, column: int, wanted: np.ndarray) -> Iterator[Question]:
        last = int(np.flatnonzero(wanted)[-1])
        for row, record in enumerate(self.index.records()):
            if wanted[row]:
                again = bool(self.codes[row, column] == ASKED_ONCE)
                yield Question(
                    row,
                    record.id,
                    again,
                    lambda once_more, record=record: self.prompt.messages(record, once_more),
                )
            if row == last:
                return

    def _recorder(self, column: int, journal: Journal) -> OnAnswer:
        """Returns what writes an answer to the journal and the ballot."""
        teacher = self.teachers[column]

        def record(
            question: Question,
            reply: Reply,
            vote: System | None,
            final: bool,
            seconds: float,
            cost: float | None,
        ) -> None:
            row = question.index
            answer = Answer(
                self.key(column, row),
                teacher.name,
                teacher.model,
                question.id,
                vote,
                reply.text,
                final,
                reply.prompt_tokens,
                reply.completion_tokens,
                round(seconds, 3),
                cost,
            )
            self.offsets[row, column] = journal.append(answer)
            self.codes[row, column] = CODES[vote] if final else ASKED_ONCE

        return record

    def _ask_rules(
        self, columns: list[int], wanted: np.ndarray, journal: Journal, progress: Progress
    ) -> None:
        """Asks all rules in one reading of the data."""
        for row, record in enumerate(self.index.records()):
            for column in columns:
                if wanted[row, column]:
                    teacher = self.teachers[column]
                    vote, reason = RULES[teacher.name][1](record)
                    key = self.key(column, row)
                    answer = Answer(key, teacher.name, teacher.model, record.id, vote, reason)
                    self.offsets[row, column] = journal.append(answer)
                    self.codes[row, column] = CODES[vote]
                    self.tallies[teacher.name].done += 1
            if (row + 1) % 1000 == 0 or row + 1 == len(self.index):
                progress("rules", row + 1, len(self.index))

    def _ask_local(
        self,
        column: int,
        wanted: np.ndarray,
        journal: Journal,
        trust_remote_code: bool,
        progress: Progress,
    ) -> None:
        from lorapar_cli.hub.local_teacher import BATCH, LocalTeacher

        teacher = self.teachers[column]
        tally = self.tallies[teacher.name]
        model = LocalTeacher(teacher, trust_remote_code)
        record = self._recorder(column, journal)
        batch: list[tuple[Question, bool]] = []

        def flush() -> list[tuple[Question, bool]]:
            started = time.monotonic()
            replies = model.answer([question.messages(again) for question, again in batch])
            seconds = (time.monotonic() - started) / len(batch)
            repeat = []
            for (question, again), reply in zip(batch, replies, strict=True):
                tally.requests += 1
                if reply is None:
                    tally.refused += 1
                    tally.left_open += 1
                    tally.last_refusal = "the prompt is longer than the model can read"
                    continue
                vote = parse_label(reply.text)
                final = again or vote is not None
                record(question, reply, vote, final, seconds, 0.0)
                tally.prompt_tokens += reply.prompt_tokens or 0
                tally.completion_tokens += reply.completion_tokens or 0
                tally.done += final
                tally.no_vote += final and vote is None
                if not final:
                    repeat.append((question, True))
            progress(teacher.name, tally.done, tally.total)
            return repeat

        for question in self._questions(column, wanted):
            batch.append((question, question.once_more))
            if len(batch) >= BATCH:
                batch = flush()
        while batch:
            batch = flush()


def open_ballot(
    index: Index, teachers: list[Teacher], prompt: LabelPrompt, journaled: JournalIndex
) -> Ballot:
    """Returns the ballot as far as the journal knows it."""
    shape = (len(index), len(teachers))
    ballot = Ballot(
        index, teachers, prompt, np.zeros(shape, np.uint8), np.full(shape, -1, np.int64)
    )
    ballot.look_up(journaled)
    return ballot

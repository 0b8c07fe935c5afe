"""The vote table: every teacher's vote on every record, as far as it is known.

It starts from the journal, so a question that is answered there is never asked again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from lorapar_cli.labelling.teachers.label_prompt import LabelPrompt
from lorapar_cli.labelling.teachers.tally import TeacherStats
from lorapar_cli.labelling.teachers.teacher import Teacher, answer_key, identities, plain_identity
from lorapar_cli.labelling.votes import voting
from lorapar_cli.labelling.votes.journal_index import ASKED_ONCE, CUT, JournalIndex, short_key
from lorapar_cli.labelling.votes.record_index import RecordIndex
from lorapar_cli.store.records import Record

_OPEN = f"({voting.UNASKED}, {ASKED_ONCE})"
_VOTE_BITS = 3


@dataclass
class JournaledTotals:
    """Sums over a teacher's answers in the journal to the questions of this run.

    Attributes:
        unpriced: Prompt and completion tokens of answers without a cost.
        estimated: Number of answers whose tokens are an estimate.
        worded: Number of answers that are not empty.
    """

    answers: int = 0
    worded: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    unpriced: tuple[int, int] = (0, 0)
    estimated: int = 0

    def add(
        self, prompt: int, completion: int, estimated: int, worded: int, cost: float | None
    ) -> None:
        """Counts one answer."""
        self.answers += 1
        self.worded += worded
        self.estimated += estimated
        self.prompt_tokens += prompt
        self.completion_tokens += completion
        if cost is None:
            self.unpriced = (self.unpriced[0] + prompt, self.unpriced[1] + completion)
        else:
            self.cost += cost


class VoteTable:
    """Every teacher's vote on every record, in the table `answers` of the index's database.

    Records with the same content share one row, under the number of the first of them. A row is
    open while its questions are worth asking: not for empty records, nor once the label is decided.
    For each teacher it holds the code of the answer (of `labelling.votes.voting`, or of
    `labelling.votes.journal_index`, whose low two bits are one of the former) and the offset of the
    answer in the journal, -1 if there is none.

    Attributes:
        journaled: Totals of the journal by teacher when this run began.
        from_journal: Number of questions that the journal had answered, by teacher.
        stats: What became of the questions that this run asked, by teacher.
    """

    def __init__(
        self,
        index: RecordIndex,
        teachers: list[Teacher],
        prompt: LabelPrompt,
        journal_index: JournalIndex,
    ) -> None:
        self.index, self.teachers, self.prompt = index, teachers, prompt
        self.database, self._journal_index = index.database, journal_index
        self.journaled: dict[str, JournaledTotals] = {}
        self.from_journal: dict[str, int] = {}
        self.stats: dict[str, TeacherStats] = {}
        self._identities = identities(teachers)
        columns = range(len(teachers))
        self.votes = ", ".join(f"code{column} & {_VOTE_BITS}" for column in columns)
        self.offsets = ", ".join(f"offset{column}" for column in columns)
        self._create_tables()
        self.look_up()

    def _create_tables(self) -> None:
        columns = range(len(self.teachers))
        fields = ["number INTEGER PRIMARY KEY", "open INTEGER"]
        for column in columns:
            fields.append(f"code{column} INTEGER DEFAULT {voting.UNASKED}")
            fields.append(f"offset{column} INTEGER DEFAULT -1")
        self.database.execute(f"CREATE TABLE answers ({', '.join(fields)})")
        self.database.execute(
            "INSERT INTO answers (number, open)"
            " SELECT number, NOT empty FROM records WHERE owner = number"
        )
        self.database.execute("CREATE TABLE keys (number INTEGER PRIMARY KEY, key INTEGER)")
        if self.teachers:
            codes = ", ".join(f"code{column}" for column in columns)
            self.database.execute(f"CREATE TABLE decided ({codes})")

    def key(self, column: int, number: int) -> str:
        """Returns the journal's key of a teacher's answer on a record."""
        digest = self.index.query_value("SELECT digest FROM records WHERE number = ?", number)
        return self._key(column, digest)

    def _key(self, column: int, record_digest: bytes) -> str:
        prompt = self.prompt.digest if self.teachers[column].reads_prompt else ""
        return answer_key(self._identities[column], prompt, record_digest)

    def look_up(self) -> None:
        """Fills in the answers of the journal."""
        for column, teacher in enumerate(self.teachers):
            self._fill_in_keys(column)
            self._keep_identity(column)
            self.journaled[teacher.name] = self._look_up(column)
            self.from_journal[teacher.name] = self.index.query_value(
                f"SELECT count(*) FROM answers WHERE open AND code{column} NOT IN {_OPEN}"
            )

    def _fill_in_keys(self, column: int) -> None:
        """Fills the table `keys` with the keys of a teacher's answers; with none for no journal."""
        self.database.execute("DELETE FROM keys")
        if self._journal_index.empty:
            return
        digests = self.database.execute("SELECT number, digest FROM records WHERE owner = number")
        # Not by a function of ours inside the query: SQLite would swallow an interrupt in it.
        self.database.executemany(
            "INSERT INTO keys VALUES (?, ?)",
            ((number, short_key(self._key(column, digest))) for number, digest in digests),
        )

    def _look_up(self, column: int) -> JournaledTotals:
        totals = JournaledTotals()
        found = self.database.execute(
            "SELECT code, offset, number, cut_at, journal.prompt, completion, estimated, worded, cost"
            " FROM keys CROSS JOIN journal USING (key) ORDER BY number, offset"
        )

        def updates() -> Iterator[tuple[int, int, int]]:
            max_tokens = self.teachers[column].max_tokens
            # Of several answers the last one remains.
            for code, offset, number, cut_at, *sums in found:
                totals.add(*sums)
                ask_again = code == CUT and cut_at < max_tokens
                yield voting.UNASKED if ask_again else code, offset, number

        self.fill_in(column, updates())
        return totals

    def fill_in(self, column: int, answers: Iterable[tuple[int, int, int]]) -> None:
        """Sets a teacher's answers, each given by code, offset and the record's number."""
        self.database.executemany(
            f"UPDATE answers SET code{column} = ?, offset{column} = ? WHERE number = ?", answers
        )

    def _keep_identity(self, column: int) -> None:
        """Lets a teacher keep its earlier answers when another teacher of its model joins."""
        teacher, distinct = self.teachers[column], self._identities[column]
        plain = plain_identity(teacher)
        if distinct == plain:
            return
        self._identities[column] = plain
        self._fill_in_keys(column)
        first = self.index.query_value(
            "SELECT min(offset) FROM keys CROSS JOIN journal USING (key)"
        )
        if first is None or self._journal_index.teacher_at(first) != teacher.name:
            self._identities[column] = distinct
            self._fill_in_keys(column)

    def waiting(self, column: int) -> Iterator[tuple[int, bool]]:
        """Yields, in order, the numbers of the records that a teacher has yet to answer.

        And whether a first answer held no label, so that this is the second attempt.
        """
        return self.database.execute(
            f"SELECT number, code{column} = {ASKED_ONCE} FROM answers"
            f" WHERE open AND code{column} IN {_OPEN} ORDER BY number"
        )

    def waiting_records(
        self, columns: Iterable[int]
    ) -> Iterator[tuple[int, Record, dict[int, bool]]]:
        """Yields numbers and records in order, with the teachers that have yet to answer each.

        Those by column, with whether it is the second attempt. Ends behind the last such record.
        """
        waiting = {column: self.waiting(column) for column in columns}
        upcoming = {column: next(rows, None) for column, rows in waiting.items()}
        for number, record in enumerate(self.index.records()):
            if not any(upcoming.values()):
                return
            wanted = {c: row[1] for c, row in upcoming.items() if row and row[0] == number}
            for column in wanted:
                upcoming[column] = next(waiting[column], None)
            yield number, record, wanted

    def count_waiting(self, column: int) -> int:
        """Returns how many questions a teacher has yet to answer."""
        return self.index.query_value(
            f"SELECT count(*) FROM answers WHERE open AND code{column} IN {_OPEN}"
        )

    def count_cut(self, column: int) -> int:
        """Returns how many of a teacher's answers are no votes because they were truncated."""
        return self.index.query_value(f"SELECT count(*) FROM answers WHERE code{column} = {CUT}")

    def close_decided(self, ties_to: int) -> None:
        """Closes the rows whose label no remaining teacher can change.

        Args:
            ties_to: What a tie becomes: a system, or `UNDECIDED` for neither.
        """
        votes, _ = self.open_votes()
        waiting = (votes == voting.UNASKED).sum(axis=1)
        decided = votes[voting.cannot_change(votes, waiting, ties_to)]
        if len(decided) == 0:
            return
        self.database.execute("DELETE FROM decided")
        self.database.executemany(
            f"INSERT INTO decided VALUES ({', '.join('?' * len(self.teachers))})",
            decided.tolist(),
        )
        self.database.execute(
            f"UPDATE answers SET open = 0 WHERE open AND ({self.votes}) IN (SELECT * FROM decided)"
        )

    def open_votes(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the distinct open rows of votes, and how often each occurs.

        uint8 `[rows, teachers]`, int64 `[rows]`.
        """
        if not self.teachers:
            return np.zeros((0, 0), np.uint8), np.zeros(0, np.int64)
        found = self.database.execute(
            f"SELECT count(*), {self.votes} FROM answers WHERE open GROUP BY {self.votes}"
        ).fetchall()
        table = np.array(found, np.int64).reshape(len(found), 1 + len(self.teachers))
        return table[:, 1:].astype(np.uint8), table[:, 0]

    def count_rejected_as_no_vote(self) -> None:
        """Counts questions that a healthy endpoint rejected as no vote, in this run only.

        An endpoint that has answered none of the questions is not healthy, however few they are.
        """
        for column, teacher in enumerate(self.teachers):
            stats = self.stats.get(teacher.name)
            if self.answered_nothing(column):
                continue
            if stats and stats.rejected and stats.rejected == stats.left_open and not stats.down:
                self.database.execute(
                    f"UPDATE answers SET code{column} = {voting.NO_VOTE}"
                    f" WHERE open AND code{column} IN {_OPEN}"
                )

    def answered_nothing(self, column: int) -> bool:
        """Returns whether a teacher has never answered one of the questions with a word."""
        teacher = self.teachers[column]
        stats = self.stats.get(teacher.name)
        worded = self.journaled[teacher.name].worded + (stats.worded if stats else 0)
        return teacher.kind != "rule" and worded == 0

    def count_no_vote(self, column: int) -> int:
        """Returns how many of a teacher's final answers are no votes, truncated ones included."""
        return self.index.query_value(
            f"SELECT count(*) FROM answers WHERE code{column} & {_VOTE_BITS} = {voting.NO_VOTE}"
        )

    def spent(self) -> float:
        """Returns the cost in US dollars of all answers to the questions of this run so far."""
        return sum(self.spent_on(teacher) for teacher in self.teachers)

    def spent_on(self, teacher: Teacher) -> float:
        """Returns the cost in US dollars of all of a teacher's answers so far.

        Answers from a time when no price was known are priced now.
        """
        totals = self.journaled[teacher.name]
        unpriced = teacher.price.of(*totals.unpriced) if teacher.price else 0.0
        stats = self.stats.get(teacher.name)
        return totals.cost + unpriced + (stats.cost if stats else 0.0)

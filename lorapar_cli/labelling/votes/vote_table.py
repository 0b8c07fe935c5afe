"""The ballot: what is known of every teacher's vote on every record.

It starts from the journal, so a question whose answer stands there is never asked again.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lorapar_cli.labelling.teachers.label_prompt import LabelPrompt
from lorapar_cli.labelling.teachers.tally import TeacherStats
from lorapar_cli.labelling.teachers.teacher import Teacher, answer_key, identities, plain_identity
from lorapar_cli.labelling.votes import voting
from lorapar_cli.labelling.votes.journal_index import ASKED_ONCE, CUT, JournalIndex, short_key
from lorapar_cli.labelling.votes.record_index import RecordIndex

_OPEN = f"({voting.UNASKED}, {ASKED_ONCE})"
_VOTE_BITS = 3


@dataclass
class JournaledTotals:
    """Sums over a teacher's answers in the journal to this ballot's questions.

    Attributes:
        unpriced: Prompt and completion tokens of those answers that have no cost.
        estimated: How many answers have tokens that are an estimate.
    """

    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    unpriced: tuple[int, int] = (0, 0)
    estimated: int = 0

    def add(self, prompt: int, completion: int, estimated: int, cost: float | None) -> None:
        """Counts one answer."""
        self.answers += 1
        self.estimated += estimated
        self.prompt_tokens += prompt
        self.completion_tokens += completion
        if cost is None:
            self.unpriced = (self.unpriced[0] + prompt, self.unpriced[1] + completion)
        else:
            self.cost += cost


class VoteTable:
    """Every teacher's vote on every record, in the table `answers` of the index's database.

    It has one row for all records that hold the same, under the number of their first. A row is
    open while it is worth asking about: empty records are not, and settled ones need not be.
    Of each teacher it holds the code of the answer (those of `labelling.votes.voting` and of
    `labelling.votes.journal_index`, whose low two bits are one of the former) and where the journal holds its words, -1 if nowhere.

    Attributes:
        known: What the journal knew by teacher when this run began.
        cached: How many of this ballot's questions it had answered, by teacher.
        tallies: What became of the questions that this run asked, by teacher.
    """

    def __init__(
        self,
        index: RecordIndex,
        teachers: list[Teacher],
        prompt: LabelPrompt,
        journaled: JournalIndex,
    ) -> None:
        self.index, self.teachers, self.prompt = index, teachers, prompt
        self.database, self._journal_index = index.database, journaled
        self.journaled: dict[str, JournaledTotals] = {}
        self.from_journal: dict[str, int] = {}
        self.stats: dict[str, TeacherStats] = {}
        self._identities = identities(teachers)
        columns = range(len(teachers))
        self.votes = ", ".join(f"code{column} & {_VOTE_BITS}" for column in columns)
        self.offsets = ", ".join(f"offset{column}" for column in columns)
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
        if teachers:
            codes = ", ".join(f"code{column}" for column in columns)
            self.database.execute(f"CREATE TABLE decided ({codes})")
        self.look_up()

    def key(self, column: int, number: int) -> str:
        """Returns the journal's key of a teacher's answer on a record."""
        digest = self.index.ask_for("SELECT digest FROM records WHERE number = ?", number)
        return self._key(column, digest)

    def _key(self, column: int, record_digest: bytes) -> str:
        prompt = "" if self.teachers[column].kind == "rule" else self.prompt.digest
        return answer_key(self._identities[column], prompt, record_digest)

    def look_up(self) -> None:
        """Fills in what the journal knows."""
        for column, teacher in enumerate(self.teachers):
            self._fill_in_keys(column)
            self._keep_identity(column)
            self.journaled[teacher.name] = self._look_up(column)
            self.from_journal[teacher.name] = self.index.ask_for(
                f"SELECT count(*) FROM answers WHERE open AND code{column} NOT IN {_OPEN}"
            )

    def _fill_in_keys(self, column: int) -> None:
        """Sets the table `keys` to those of a teacher's answers; to none without a journal."""
        self.database.execute("DELETE FROM keys")
        if self._journal_index.empty:
            return
        digests = self.database.execute("SELECT number, digest FROM records WHERE owner = number")
        # Not by a function of ours within the query: SQLite would swallow an interrupt in it.
        self.database.executemany(
            "INSERT INTO keys VALUES (?, ?)",
            ((number, short_key(self._key(column, digest))) for number, digest in digests),
        )

    def _look_up(self, column: int) -> JournaledTotals:
        known = JournaledTotals()
        found = self.database.execute(
            "SELECT code, offset, number, cut_at, journal.prompt, completion, estimated, cost"
            " FROM keys CROSS JOIN journal USING (key) ORDER BY number, offset"
        )

        def updates() -> Iterator[tuple[int, int, int]]:
            most = self.teachers[column].max_tokens
            # Of several answers the last one stays.
            for code, offset, number, cut_at, *sums in found:
                known.add(*sums)
                yield voting.UNASKED if code == CUT and cut_at < most else code, offset, number

        self.fill_in(column, updates())
        return known

    def fill_in(self, column: int, answers: Iterator[tuple[int, int, int]]) -> None:
        """Sets code and offset of a teacher's answers on the records of these numbers."""
        self.database.executemany(
            f"UPDATE answers SET code{column} = ?, offset{column} = ? WHERE number = ?", answers
        )

    def _keep_identity(self, column: int) -> None:
        """Lets a teacher that answered before another of its model joined keep its answers."""
        teacher, apart = self.teachers[column], self._identities[column]
        plain = plain_identity(teacher)
        if apart == plain:
            return
        self._identities[column] = plain
        self._fill_in_keys(column)
        first = self.index.ask_for("SELECT min(offset) FROM keys CROSS JOIN journal USING (key)")
        if first is None or self._journal_index.teacher_at(first) != teacher.name:
            self._identities[column] = apart
            self._fill_in_keys(column)

    def waiting(self, column: int) -> Iterator[tuple[int, bool]]:
        """Yields the numbers of the records that a teacher has yet to answer, in order.

        And whether it was asked once and gave no label.
        """
        return self.database.execute(
            f"SELECT number, code{column} = {ASKED_ONCE} FROM answers"
            f" WHERE open AND code{column} IN {_OPEN} ORDER BY number"
        )

    def count_waiting(self, column: int) -> int:
        """Returns how many questions a teacher has yet to answer."""
        return self.index.ask_for(
            f"SELECT count(*) FROM answers WHERE open AND code{column} IN {_OPEN}"
        )

    def count_cut(self, column: int) -> int:
        """Returns how many of a teacher's answers are no votes because they were cut off."""
        return self.index.ask_for(f"SELECT count(*) FROM answers WHERE code{column} = {CUT}")

    def close_decided(self, ties_to: int) -> None:
        """Closes the rows on which no teacher still to be asked can change the label.

        Args:
            ties_to: What a tie becomes: a system, or `UNDECIDED` where it becomes neither.
        """
        votes, _ = self.open_votes()
        open_ = (votes == voting.UNASKED).sum(axis=1)
        cannot_change = votes[voting.cannot_change(votes, open_, ties_to)]
        if len(cannot_change) == 0:
            return
        self.database.execute("DELETE FROM decided")
        self.database.executemany(
            f"INSERT INTO decided VALUES ({', '.join('?' * len(self.teachers))})",
            cannot_change.tolist(),
        )
        self.database.execute(
            f"UPDATE answers SET open = 0 WHERE open AND ({self.votes}) IN (SELECT * FROM decided)"
        )

    def open_votes(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the distinct rows of votes that are open, and how often each occurs.

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
        """Counts questions that a healthy endpoint refused as no vote, in this run only."""
        for column, teacher in enumerate(self.teachers):
            stats = self.stats.get(teacher.name)
            if stats and stats.rejected and stats.rejected == stats.left_open and not stats.down:
                self.database.execute(
                    f"UPDATE answers SET code{column} = {voting.NO_VOTE}"
                    f" WHERE open AND code{column} IN {_OPEN}"
                )

    def spent(self) -> float:
        """Returns the US dollars that all answers to this ballot's questions did cost so far."""
        return sum(self.spent_on(teacher) for teacher in self.teachers)

    def spent_on(self, teacher: Teacher) -> float:
        """Returns the US dollars that all of a teacher's answers did cost so far.

        Answers from a time when no price was known are priced now.
        """
        known = self.journaled[teacher.name]
        unpriced = teacher.price.of(*known.unpriced) if teacher.price else 0.0
        stats = self.stats.get(teacher.name)
        return known.cost + unpriced + (stats.cost if stats else 0.0)

"""Running totals of one teacher: questions, answers, tokens, cost."""

from dataclasses import dataclass

from lorapar_cli.labelling.teachers.teacher import Teacher
from lorapar_cli.plurals import counted


@dataclass
class TeacherStats:
    """What became of one teacher's questions in this run.

    Attributes:
        total: Questions to ask.
        done: Questions with a final answer.
        rate_limited: Requests that the endpoint answered with 429.
        rejected: Questions that the endpoint will never answer.
        rejected_in_a_row: Rejections since the last answer.
        left_open: Questions that got no answer.
        worded: Replies that were not empty.
        estimated: Answers whose tokens the endpoint did not count.
        cost: US dollars; 0 where the price is unknown.
        down: Why the teacher is asked nothing more, or None.
        over_budget: Whether it stopped because the next question might have exceeded `max_cost`.
        last_success: Time of the last answer on the clock of `rate_limit`; negative for never.
    """

    teacher: Teacher
    total: int
    done: int = 0
    requests: int = 0
    retries: int = 0
    rate_limited: int = 0
    no_vote: int = 0
    worded: int = 0
    rejected: int = 0
    rejected_in_a_row: int = 0
    left_open: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: int = 0
    cost: float = 0.0
    down: str | None = None
    over_budget: bool = False
    last_success: float = -1.0
    last_rejection: str | None = None

    def figures(self, seconds: float) -> list[str]:
        """Returns answers a second, retries, cost and remaining time, ready for the display.

        Args:
            seconds: Time since the first question.
        """
        rate = self.done / seconds if seconds > 0 else 0.0
        figures = [
            f"{rate:.1f}/s",
            counted(self.retries, "retry", "retries"),
            f"${self.cost:.4f}" if self.teacher.price else "price unknown",
        ]
        if rate > 0:
            figures.append(f"{format_duration((self.total - self.done) / rate)} left")
        return figures


def format_duration(seconds: float) -> str:
    """Returns `1:02:03` or `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def what_happened(stats: TeacherStats) -> str:
    """Returns why a teacher has unanswered questions, as the end of a sentence."""
    if stats.down:
        return f", then it failed: {stats.down}"
    if stats.over_budget:
        return ", then the budget was exhausted"
    if stats.rejected and stats.rejected == stats.left_open:
        return f", {stats.rejected} refused, the last of them: {stats.last_rejection}"
    return f", {stats.left_open} failed after all retries"

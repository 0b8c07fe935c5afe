"""What one teacher was asked, answered and cost."""

from dataclasses import dataclass

from lorapar_cli.labelling.teachers.teacher import Teacher


@dataclass
class TeacherStats:
    """What has become of one teacher's questions.

    Attributes:
        down: Why the teacher is asked nothing more, or None.
        over_budget: Whether it stopped because the next question might have passed `max_cost`.
        left_open: Questions that got no answer in this run.
        estimated: Answers whose tokens the endpoint did not count.
    """

    teacher: Teacher
    total: int
    done: int = 0
    requests: int = 0
    retries: int = 0
    rate_limited: int = 0
    no_vote: int = 0
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
        """Returns what the progress display shows after `seconds` of asking.

        Answers a second, retries, cost, and how long the rest takes at this rate.
        """
        rate = self.done / seconds if seconds > 0 else 0.0
        figures = [
            f"{rate:.1f}/s",
            f"{self.retries} {'retry' if self.retries == 1 else 'retries'}",
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
    """Returns how a teacher's questions ended, as the rest of a sentence."""
    if stats.down:
        return f", then it failed: {stats.down}"
    if stats.over_budget:
        return ", then the budget was used up"
    return f", {stats.left_open} failed again and again"

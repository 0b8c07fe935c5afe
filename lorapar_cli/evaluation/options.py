"""How completions are drawn."""

from dataclasses import dataclass

from lorapar_cli.errors import UsageError


@dataclass(frozen=True)
class Drawing:
    """How completions are drawn; field names are option names.

    Attributes:
        max_new_tokens: Tokens after which a completion is cut.
        samples: Completions of each item.
        temperature: 0 for the likeliest token.
        top_p: Smallest set of tokens with this probability that is drawn from.
        k: For pass@k and maj@k of several samples.
        seed: Decides what is drawn above temperature 0.
    """

    max_new_tokens: int = 256
    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    k: tuple[int, ...] = (1,)
    seed: int = 0

    def check(self) -> None:
        """Raises UsageError where the values contradict each other."""
        if self.samples > 1 and self.temperature == 0:
            raise UsageError(
                f"`--samples {self.samples}` would draw the same completion every time",
                "`--temperature` is 0",
                "give a temperature above 0, for instance 0.8",
            )
        if max(self.k) > self.samples:
            raise UsageError(
                f"`--k {max(self.k)}` needs as many samples of each item",
                f"`--samples` is {self.samples}",
            )

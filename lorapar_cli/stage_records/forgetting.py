"""What training stages and `eval` measure of forgetting."""

from typing import NotRequired, TypedDict


class Forgetting(TypedDict):
    """How far one model is from its base model, and what it makes of records and of plain text.

    Keys:
        loss: System -> mean cross-entropy of completions, in nats per token, over records.
        kl: System -> KL(base || adapter) per token on its prompts, in nats; absent of the base model
            and where there are no prompts.
        neutral_loss: Mean cross-entropy of the neutral text, in nats per token.
    """

    loss: dict[str, float]
    kl: NotRequired[dict[str, float]]
    neutral_loss: float


class ForgettingBasis(TypedDict):
    """What forgetting is measured on.

    Keys:
        records: System -> number of records that losses are means over.
        prompts: System -> number of prompts that the divergence is a mean over.
        sources: Name of what was read -> sha256 of the file; without `neutral` where the text is
            that of the package.
        neutral_tokens: Number of tokens of the neutral text.
    """

    records: dict[str, int]
    prompts: dict[str, int]
    sources: dict[str, str]
    neutral_tokens: int


class StageForgetting(TypedDict):
    """What a training stage changed besides what it was for.

    Keys:
        before: Of the adapter that the stage started from.
        after: Of the adapter that it published.
        others: The systems that the stage did not train on; empty where there is none.
    """

    others: list[str]
    basis: ForgettingBasis
    before: Forgetting
    after: Forgetting

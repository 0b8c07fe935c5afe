"""The base model itself as a voter: how likely is it to answer directly?

No text is generated. One forward pass over prompt and direct answer gives p, the probability that
the student writes exactly that answer and ends. With the chain, a second pass gives the gain: how
much likelier the answer becomes, in nats, behind the reference's own reasoning.

- p of at least 1/2 votes System 1: the student is likelier to answer so at once than to write
  anything else.
- A gain above ln 2 votes System 2: the chain more than doubles the answer's probability. No chain
  can do that where p is at least 1/2, so that the two never contradict each other.
- Anything else abstains.

It measures what this student finds easy, not how many steps a question has.
"""

import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lorapar_cli.errors import LoraparError
from lorapar_cli.finite import is_finite
from lorapar_cli.grading.answers import extract_answer
from lorapar_cli.labelling.teachers.teacher import Teacher
from lorapar_cli.libraries import MODELS, require_libraries
from lorapar_cli.models.rendering.chat_template import ChatTemplate, read_arguments
from lorapar_cli.names import System
from lorapar_cli.store.records import Record

if TYPE_CHECKING:
    from lorapar_cli.models.rendering.encoding import Encoded

STUDENT_BATCH = 16
DIRECT = 0.5
"""Probability of the direct answer from which on a record is System 1."""
GAIN = math.log(2)
"""Gain in nats above which a record is System 2."""
_DIGITS = 6


@dataclass(frozen=True)
class StudentScore:
    """What the student makes of one record.

    Attributes:
        direct: Probability of the direct answer and the end of sequence, 0 to 1; None where there
            is no such answer, or it does not fit into the model.
        gain: log p(answer | prompt, chain) - log p(answer | prompt), in nats; None without a chain.
    """

    direct: float | None
    gain: float | None

    def vote(self) -> System | None:
        """Returns the student's vote, None where it abstains."""
        if self.direct is not None and self.direct >= DIRECT:
            return System.SYSTEM1
        if self.gain is not None and self.gain > GAIN:
            return System.SYSTEM2
        return None

    def to_text(self) -> str:
        """Returns the score as JSON, as the journal keeps it."""
        return json.dumps({"direct": self.direct, "gain": self.gain})


def split_answer(completion: str) -> tuple[str, str] | None:
    """Returns the chain and the direct answer of a completion; the chain may be empty.

    The direct answer is the only line, or the last one if it holds the final answer, or the final
    answer by itself. None where none of these is found. Only the completion decides, since answers
    are journaled by prompt and completion.
    """
    lines = completion.strip().splitlines(keepends=True)
    if len(lines) < 2:
        return ("", completion.strip()) if lines else None
    found, last = extract_answer(completion), lines[-1].strip()
    if found is None:
        return None
    if extract_answer(last) == found:
        return "".join(lines[:-1]), last
    return completion.strip() + "\n", found


class StudentVoter:
    """A causal LM, loaded once, that scores records.

    Args:
        with_chain: Whether the gain is computed too.

    Raises:
        LoraparError: There is no such model, or it is not a causal LM.
    """

    def __init__(self, teacher: Teacher, with_chain: bool, trust_remote_code: bool = False) -> None:
        require_libraries(MODELS, f"teacher `{teacher.name}`")
        # torch and transformers take seconds to import, and other teachers need neither.
        from lorapar_cli.models.base_model import find_base_model, load_base, load_tokenizer

        base = find_base_model(teacher.model, trust_remote_code)
        if base.encoder_decoder:
            raise LoraparError(
                "teacher `student` works with decoder-only models",
                f"`{teacher.model}` is an encoder-decoder",
                "leave `student` out of `--teachers`",
            )
        self._with_chain, self._max_length = with_chain, base.max_length
        template = ChatTemplate(None, read_arguments(teacher.template_args))
        self._tokenizer = load_tokenizer(base, trust_remote_code, template)
        self._model = load_base(base, trust_remote_code=trust_remote_code).eval()

    def score(self, records: list[Record]) -> list[StudentScore]:
        """Returns the scores of a batch of records, in order."""
        from lorapar_cli.models.rendering.encoding import Encoded, encode

        direct: dict[int, Encoded] = {}
        behind: dict[int, Encoded] = {}
        for place, record in enumerate(records):
            parts = split_answer(record.completion)
            if parts is None:
                continue
            chain, answer = parts
            sample = encode(self._tokenizer, replace(record, completion=answer))
            if self._fits(sample.input_ids):
                direct[place] = sample
            if not (self._with_chain and chain):
                continue
            ids = self._tokenizer(chain, add_special_tokens=False)["input_ids"]
            prompt = [*sample.input_ids[: sample.prompt_length], *ids]
            whole = [*prompt, *sample.input_ids[sample.prompt_length :]]
            if place in direct and self._fits(whole):
                behind[place] = Encoded(whole, len(prompt))
        at_once, later = (self._log_probabilities(samples) for samples in (direct, behind))
        return [
            StudentScore(
                round(math.exp(at_once[place]), _DIGITS) if place in at_once else None,
                round(later[place] - at_once[place], _DIGITS) if place in later else None,
            )
            for place in range(len(records))
        ]

    def _fits(self, ids: list[int]) -> bool:
        return self._max_length is None or len(ids) <= self._max_length

    def _log_probabilities(self, samples: "dict[int, Encoded]") -> dict[int, float]:
        """Returns each sample's summed log-probability of its completion, by place."""
        import torch

        from lorapar_cli.models.batches import BatchLayout, make_batch, sample_losses

        if not samples:
            return {}
        own = list(samples.values())
        device = next(self._model.parameters()).device
        with torch.inference_mode():
            batch = make_batch(own, self._tokenizer.pad_token_id, device, BatchLayout())
            losses = sample_losses(self._model, batch).tolist()
        return {
            place: -loss * sample.completion_length
            for (place, sample), loss in zip(samples.items(), losses, strict=True)
        }


def read_score(text: str) -> dict[str, float | None] | None:
    """Returns the score that a line of the journal holds, None where it holds none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.keys() != {"direct", "gain"}:
        return None
    numbers = [value for value in found.values() if value is not None]
    if not all(isinstance(value, int | float) and is_finite(value) for value in numbers):
        return None
    return found

"""The short GRPO by which `--rule movement` trains on System 2.

Each step samples groups of completions from the model as it is, rewards final answers that are
right, and follows the policy gradient of the advantages within each group. One update for each
sampling, so that the ratio of new to old policy is 1 and clipping never acts; no KL term.

Differs from `train-rl`, which uses TRL's trainer: rewards for right answers only, the mean over a
completion's tokens as in the original GRPO, Adam at a constant rate, no weight decay, no clipping.
Training is another wing, whose loop cannot be used from here.
"""

from collections.abc import Callable

import torch

from lorapar_cli.errors import LoraparError
from lorapar_cli.grading.answers import answers_match, extract_answer
from lorapar_cli.models.batches import BatchLayout
from lorapar_cli.models.distributed import Processes
from lorapar_cli.models.generation import Decoding, decode_batch, end_tokens
from lorapar_cli.models.placement.sharding import in_step
from lorapar_cli.models.rendering.blocks import as_read
from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.models.rendering.tokenization import continues_block, decode_text, encode_prompt
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.scoring.accumulate import make_batches, token_limit
from lorapar_cli.scoring.movement import Part, Training, draw_steps
from lorapar_cli.scoring.scored_model import ScoredModel
from lorapar_cli.scoring.student import Student
from lorapar_cli.store.records import Record

PROMPTS = 8
"""Prompts of one step."""
GROUP = 8
"""Completions of each prompt; the paper's group size."""
NEW_TOKENS = 256
"""Tokens after which a completion is truncated; the paper's response length."""
# TRL's, so that a group without spread has no advantage.
_SPREAD_FLOOR = 1e-4

Reward = Callable[[Record, str], float]


def reward_answer(record: Record, completion: str) -> float:
    """Returns 1 where the completion's final answer is one of the accepted ones, else 0."""
    found = extract_answer(completion)
    return float(any(answers_match(found, accepted) for accepted in record.accepted_answers))


class PolicySteps:
    """The parts of GRPO steps, and counts of what was sampled.

    Args:
        records: Those that may be asked, each with a reference answer.
        seed: Determines prompts and completions.

    Attributes:
        counts: `[3]` float64: completions of reward above 0, groups, groups without spread; of
            this process until `total` adds those of the others.

    Raises:
        LoraparError: No record has a reference answer, or the model is an encoder-decoder.
    """

    def __init__(
        self,
        scored: ScoredModel,
        student: Student,
        records: list[Record],
        training: Training,
        processes: Processes,
        seed: int,
        reward: Reward = reward_answer,
    ) -> None:
        self._scored, self._student, self._training = scored, student, training
        self._processes, self._seed, self._reward = processes, seed, reward
        self._records = [record for record in records if record.accepted_answers]
        if student.base.encoder_decoder or not self._records:
            raise LoraparError(
                "`--rule movement` cannot sample from this model or data for System 2",
                "the model is an encoder-decoder"
                if student.base.encoder_decoder
                else f"{counted(len(records), 'record')}, none with a reference answer",
                "measure System 2 by SFT steps too, with `--movement-s2 sft`",
            )
        self._steps = draw_steps(len(self._records), PROMPTS, training.steps, f"{seed} grpo")
        device = next(iter(scored.values.values())).device
        self.counts = torch.zeros(3, dtype=torch.float64, device=device)

    def parts(self, step: int) -> list[Part]:
        """Returns this process's parts of a step, sampled from the model as it is now."""
        parts = []
        with in_step(self._scored.model):
            for place, index in self._processes.share(list(enumerate(self._steps[step]))):
                # A group is sampled by itself, from a seed of its own: the same in any process.
                seed = (self._seed * self._training.steps + step) * PROMPTS + place
                parts += self._group(self._records[index], seed)
        return parts

    def _group(self, record: Record, seed: int) -> list[Part]:
        tokenizer, model = self._student.tokenizer, self._scored.model
        prompt = encode_prompt(tokenizer, record.prompt, record.tools, record.id)
        prompts = [prompt] * GROUP
        decoding = Decoding(NEW_TOKENS, temperature=1.0)
        written = decode_batch(
            model,
            tokenizer,
            prompts,
            decoding.within(self._student.base.max_length, prompts),
            seed,
            memory_hint="use a smaller `--dtype`, or `--movement-s2 sft`",
        )
        inside, ends = continues_block(tokenizer, prompt), end_tokens(model, tokenizer)
        texts = [
            as_read(decode_text(tokenizer, ids, skip_special_tokens=True), inside, ids[-1] in ends)
            for ids in written
        ]
        rewards = torch.tensor([self._reward(record, text) for text in texts])
        flat = bool((rewards == rewards[0]).all())
        self.counts += torch.tensor(
            [int((rewards > 0).sum()), 1, int(flat)], device=self.counts.device
        )
        if flat:
            return []
        advantages = group_advantages(rewards).tolist()
        samples = [Encoded([*prompt, *ids], len(prompt)) for ids in written]
        limit = token_limit(model, samples, self._training.batch_tokens, self.counts.device)
        layout = BatchLayout(self._training.packing)
        return [
            Part(
                [samples[i] for i in batch],
                # The loss of a sample is minus its mean log-probability.
                [advantages[i] / (PROMPTS * GROUP) for i in batch],
            )
            for batch in make_batches(samples, limit, layout)
        ]

    def total(self) -> str:
        """Returns what was sampled in all processes, in words; called once, at the end.

        Raises:
            LoraparError: No group had both right and wrong answers, so that nothing moved.
        """
        self._processes.add_up(self.counts)
        right, groups, flat = (int(count) for count in self.counts.tolist())
        figures = (
            f"{right:,} of {counted(groups * GROUP, 'sampled completion')} "
            f"{inflected(right, 'was', 'were')} right, {flat:,} of {counted(groups, 'group')} had "
            "no spread"
        )
        if flat == groups:
            raise LoraparError(
                "no element moves for system2: no sampled group has both right and wrong answers",
                figures,
                "give more `--movement-steps`, easier records, or `--movement-s2 sft`",
            )
        return f"System 2 was trained by {counted(self._training.steps, 'GRPO step')}: {figures}"


def group_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """Returns rewards `[group]` less their mean, over their standard deviation.

    Source: DeepSeekMath, arXiv 2402.03300, Sec. 4.1.2; TRL's `GRPOTrainer` for the deviation's
    correction and floor.
    """
    return (rewards - rewards.mean()) / (rewards.std() + _SPREAD_FLOOR)

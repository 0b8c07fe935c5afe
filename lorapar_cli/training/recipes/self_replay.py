"""Replay of what the base model itself answers to the other system's prompts.

Source: self-generated replay as in arXiv 2605.26097 and 2603.04964; that forgetting follows the
divergence from the base model on such prompts, arXiv 2509.04259.
"""

from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.generation import Decoding
from lorapar_cli.models.rendering.encoding import Encoded
from lorapar_cli.models.rendering.tokenization import encode_prompt
from lorapar_cli.names import Artifact
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.stage_records.training import ReplaySampling
from lorapar_cli.store.records import Record, write_records
from lorapar_cli.training.jobs import Preparation
from lorapar_cli.training.options import SftOptions
from lorapar_cli.training.recipes.sampling import Answer, Questions, sample_once


def sample_replay(
    preparation: Preparation,
    tokenizer: PreTrainedTokenizerBase,
    records: list[Record],
    options: SftOptions,
) -> tuple[list[Record], list[Encoded], ReplaySampling]:
    """Returns records with the base model's own answers, their tokens, and what sampling them took.

    An answer is trained on as the very tokens that were sampled. Left out, and counted, are answers
    that did not end within `--max-length`, and those that said nothing. The records are written to
    `replay.jsonl`.

    Args:
        records: Those whose prompts are answered.

    Raises:
        LoraparError: No answer is left.
    """
    room = min(options.max_length, preparation.job.base.max_length or options.max_length)
    prompts = [encode_prompt(tokenizer, r.prompt, r.tools, r.id) for r in records]
    asked = [(r, p) for r, p in zip(records, prompts, strict=True) if len(p) < room]
    questions = Questions(
        name="replay",
        task="sampling the base model's answers",
        prompts=[prompt for _, prompt in asked],
        decoding=Decoding(room, options.replay_temperature),
        room=room,
        draws=1,
        batch_size=options.sample_batch_size,
        seed=options.seed,
        adapter=False,
    )
    sampled = sample_once(preparation, tokenizer, questions)
    answered = [(r, p, own[0]) for (r, p), own in zip(asked, sampled.answers, strict=True)]
    kept = [one for one in answered if _is_usable(one[2])]
    figures: ReplaySampling = {
        "asked": len(records),
        "answered": len(kept),
        "unfinished": sum(not answer["finished"] for *_, answer in answered),
        "empty": sum(answer["finished"] and not _is_usable(answer) for *_, answer in answered),
        "long_prompts": len(records) - len(asked),
        "tokens": sampled.tokens,
        "seconds": sampled.seconds,
        "belongs_to": sampled.belongs_to,
    }
    _report(figures, room, preparation.job.manifest.notes)
    own = [replace(r, completion=a["completion"], votes={}, agreement=None) for r, _, a in kept]
    encoded = [Encoded([*prompt, *answer["tokens"]], len(prompt)) for _, prompt, answer in kept]
    if preparation.launch.processes.rank == 0:
        write_records(preparation.work / Artifact.REPLAY, own)
    return own, encoded, figures


def _is_usable(answer: Answer) -> bool:
    return answer["finished"] and bool(answer["completion"].strip())


def _report(figures: ReplaySampling, room: int, notes: list[str]) -> None:
    """Adds a sentence on answers that were left out.

    Raises:
        LoraparError: All were.
    """
    left_out = {
        f"did not end within {counted(room, 'token')}": figures["unfinished"],
        "said nothing": figures["empty"],
        "had too long a prompt": figures["long_prompts"],
    }
    parts = ", ".join(f"{number} {why}" for why, number in left_out.items() if number)
    if not figures["answered"]:
        raise LoraparError(
            "the base model has no answer to replay",
            f"of {counted(figures['asked'], 'answer')} {parts}",
            "raise `--max-length`, lower `--replay-temperature`, or omit `--replay-source self`",
        )
    left = figures["asked"] - figures["answered"]
    if parts:
        notes.append(
            f"{left} of {counted(figures['asked'], 'answer')} of the base "
            f"model {inflected(left, 'is', 'are')} not replayed: {parts}"
        )

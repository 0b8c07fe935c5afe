"""From a record to tokens: what of it is context, and what contributes to the loss.

Where a chat template writes blocks of reasoning (`<think>...</think>`), the prompt may open one, and
a completion without reasoning get an empty one.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from transformers import PreTrainedTokenizerBase

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.rendering.blocks import BLOCK_TOKENS, NAMES, closes_block, opens_block
from lorapar_cli.models.rendering.kept_text import continues_prompt, keeps_words
from lorapar_cli.models.rendering.tokenization import (
    decode_text,
    encode_prompt,
    render_conversation,
    to_messages,
)
from lorapar_cli.plurals import counted, inflected
from lorapar_cli.store.records import Message, Record

_OPENING = re.compile(rf"\A\s*[<\[](?:{NAMES})[>\]]")
# Some templates write the tag that closes a block alone.
_CLOSED_AT_END = re.compile(rf"[<\[]/(?:{NAMES})[>\]]\s*\Z")
_EMPTY = re.compile(rf"\A\s*([<\[])({NAMES})[>\]]\s*[<\[]/\2[>\]]\s*")

# What closes an opened block that stays empty, as templates with empty blocks write it.
_CLOSED = "\n{}\n\n"
# Characters of a prompt's end that a message shows.
_SHOWN_ENDING = 30


@dataclass(frozen=True)
class Encoded:
    """One record's tokens.

    Attributes:
        input_ids: Prompt, completion and end of sequence.
        prompt_length: Number of leading tokens that do not contribute to the loss.
        reasoning: What stands for the reasoning of a completion that has none: `closed` where the
            prompt opens a block that had to be closed, `empty` where the template writes an empty
            one. Neither contributes to the loss.
        heading: What the template writes between a prompt and a completion besides such a block. A
            model writes it itself, so that it contributes to the loss.
    """

    input_ids: list[int]
    prompt_length: int
    reasoning: Literal["closed", "empty"] | None = None
    heading: str = ""

    @property
    def completion_length(self) -> int:
        """Number of tokens that contribute to the loss, end of sequence included."""
        return len(self.input_ids) - self.prompt_length


def encode(tokenizer: PreTrainedTokenizerBase, record: Record) -> Encoded:
    """Returns the record's tokens; completion and end of sequence contribute to the loss.

    The prompt's tokens are those that generation starts from. Where a template opens a block of
    reasoning in them, a completion with reasoning continues it; for one without, the block is
    closed. An empty block is context: trained on, it would teach the model not to reason.

    Raises:
        UnusableCompletion: The chat template changes the completion or leaves it out, ends its
            prompt with text that no answer follows, or leaves no room for reasoning.
        LoraparError: The chat template refuses the messages, or takes no tools.
    """
    prompt = encode_prompt(tokenizer, record.prompt, record.tools, record.id)
    if not tokenizer.chat_template:
        return _join(tokenizer, prompt, [], _encode_text(tokenizer, record.completion))
    written = decode_text(tokenizer, prompt[-BLOCK_TOKENS:])
    if opens_block(written):
        return _encode_reasoning(tokenizer, record, prompt)
    if _CLOSED_AT_END.search(written) and closes_block(record.completion):
        raise UnusableCompletion(
            record.id,
            "the chat template closes an empty block of reasoning, and completions have their own",
            "turn reasoning on with `--template-arg`, or remove it from the completions",
        )
    completion = _completion_from_template(tokenizer, record, prompt)
    block = _count_block(tokenizer, completion)
    if block and _has_own_block(record.completion):
        # The template knows reasoning in a field of its own only, and would write both.
        completion, block = completion[block:], 0
    joined = _join(tokenizer, prompt, completion[:block], completion[block:], "empty")
    return replace(joined, heading=_heading(tokenizer, completion[block:], record.completion))


def encode_records(tokenizer: PreTrainedTokenizerBase, records: Sequence[Record]) -> list[Encoded]:
    """Returns the tokens of several records.

    Raises:
        LoraparError: As `encode`; completions that are unusable for one reason are counted first.
    """
    encoded: list[Encoded] = []
    unusable: list[UnusableCompletion] = []
    for record in records:
        try:
            encoded.append(encode(tokenizer, record))
        except UnusableCompletion as cause:
            unusable.append(cause)
    if unusable:
        first = unusable[0]
        alike = sum(one.what == first.what for one in unusable)
        found = f"{alike} of {counted(len(records), 'record')}, such as `{first.record_id}`"
        raise LoraparError(first.what, found, first.hint)
    return encoded


def describe_encoding(encoded: Sequence[Encoded], of: str = "") -> list[str]:
    """Returns sentences on what stands between prompts and answers, with the number of records.

    Args:
        of: Whose records they are, for the sentences.
    """
    described = {
        "closed": "the chat template opens a block of reasoning that {} {} no text for; it is "
        "closed and does not contribute to the loss",
        "empty": "the chat template adds an empty block of reasoning to {}; it does not contribute "
        "to the loss",
    }
    sentences = []
    for kind, sentence in described.items():
        number = sum(one.reasoning == kind for one in encoded)
        if number:
            share = _share(number, len(encoded), of)
            sentences.append(sentence.format(share, inflected(number, "has", "have")))
    headings = Counter(one.heading for one in encoded if one.heading)
    if headings:
        sentences.append(
            f"the chat template writes {json.dumps(headings.most_common(1)[0][0], ensure_ascii=False)} "
            f"between prompt and answer of {_share(headings.total(), len(encoded), of)}; models write "
            "it themselves, so it contributes to the loss, and where it stands for an answer without "
            "reasoning, it teaches to answer at once"
        )
    return sentences


def _share(number: int, total: int, of: str) -> str:
    return f"{number:,} of {counted(total, f'{of} record'.strip())}"


class UnusableCompletion(LoraparError):
    """A chat template leaves open what to train on.

    Attributes:
        record_id: Record whose completion it is.
    """

    def __init__(self, record_id: str, what: str, hint: str) -> None:
        super().__init__(what, f"record `{record_id}`", hint)
        self.record_id = record_id


def _join(
    tokenizer: PreTrainedTokenizerBase,
    prompt: list[int],
    context: list[int],
    completion: list[int],
    reasoning: Literal["closed", "empty"] = "empty",
) -> Encoded:
    """Returns the tokens of one record; `context` stands between prompt and completion."""
    if not completion or completion[-1] != tokenizer.eos_token_id:
        completion = [*completion, tokenizer.eos_token_id]
    before = [*prompt, *context]
    return Encoded([*before, *completion], len(before), reasoning if context else None)


def _encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _encode_reasoning(
    tokenizer: PreTrainedTokenizerBase, record: Record, prompt: list[int]
) -> Encoded:
    """Returns the tokens of a record whose prompt opens a block of reasoning."""
    ending = _end_of_turn(tokenizer, record)
    if closes_block(record.completion):
        written = decode_text(tokenizer, prompt[-BLOCK_TOKENS:])
        text = _without_opening(record.completion, written)
        return _join(tokenizer, prompt, [], _encode_text(tokenizer, text + ending))
    opened = opens_block(decode_text(tokenizer, prompt[-BLOCK_TOKENS:]))
    closing = _encode_text(tokenizer, _CLOSED.format(opened))
    completion = _encode_text(tokenizer, record.completion + ending)
    return _join(tokenizer, prompt, closing, completion, "closed")


def _conversation(record: Record) -> list[Message]:
    return [*to_messages(record.prompt), {"role": "assistant", "content": record.completion}]


def _end_of_turn(tokenizer: PreTrainedTokenizerBase, record: Record) -> str:
    """Returns what the template writes behind a completion, up to the end of sequence.

    Raises:
        UnusableCompletion: It does not write the completion's last words.
    """
    text = decode_text(
        tokenizer, render_conversation(tokenizer, _conversation(record), record.tools)
    )
    last = record.completion.strip().splitlines()[-1].strip() if record.completion.strip() else ""
    place = text.rfind(last)
    if not last or place < 0:
        raise UnusableCompletion(
            record.id,
            "the chat template changes completions, so that what to train on is unknown",
            "give another template with `--template`",
        )
    rest = text[place + len(last) :]
    end = cast(str, tokenizer.eos_token)
    head, found, after = rest.partition(end)
    return head + found if not after.strip() else rest


def _completion_from_template(
    tokenizer: PreTrainedTokenizerBase, record: Record, prompt: list[int]
) -> list[int]:
    """Returns what the template puts after the prompt, up to and including the end of sequence.

    Where the rendered conversation does not start with the prompt (templates that rewrite earlier
    turns), it is the completion and what the template writes behind it.
    """
    whole = render_conversation(tokenizer, _conversation(record), record.tools)
    if whole[: len(prompt)] != prompt:
        _require_continuation(tokenizer, record, prompt, whole)
        return _encode_text(tokenizer, record.completion + _end_of_turn(tokenizer, record))
    completion = whole[len(prompt) :]
    if not keeps_words(record.completion, decode_text(tokenizer, completion)):
        raise UnusableCompletion(
            record.id,
            "the chat template leaves completions out",
            "give another template with `--template`",
        )
    # A newline that the template adds after the end of sequence is never generated. Words there
    # belong to the answer, which contains the end of sequence.
    if tokenizer.eos_token_id in completion:
        after = len(completion) - completion[::-1].index(tokenizer.eos_token_id)
        if not decode_text(tokenizer, completion[after:]).strip():
            completion = completion[:after]
    return completion


def _require_continuation(
    tokenizer: PreTrainedTokenizerBase, record: Record, prompt: list[int], whole: list[int]
) -> None:
    """Refuses a template that ends prompts with text which it writes before no answer.

    It may open a block of reasoning there, which an answer that simply follows would not close.

    Raises:
        UnusableCompletion: It does.
    """
    last = to_messages(record.prompt)[-1]["content"]
    written, conversation = decode_text(tokenizer, prompt), decode_text(tokenizer, whole)
    if not continues_prompt(written, conversation, last, record.completion):
        ending = decode_text(tokenizer, prompt[-BLOCK_TOKENS:])[-_SHOWN_ENDING:]
        raise UnusableCompletion(
            record.id,
            "the chat template ends prompts with text that it does not write before an answer, so "
            "that what an answer continues is unknown",
            f"prompts end with {json.dumps(ending, ensure_ascii=False)}; turn reasoning off with "
            "`--template-arg` if the template has a variable for that, or give another template "
            "with `--template`",
        )


def _count_block(tokenizer: PreTrainedTokenizerBase, completion: list[int]) -> int:
    """Returns how many leading tokens are an empty block of reasoning."""
    block = _empty_block(decode_text(tokenizer, completion[:BLOCK_TOKENS]))
    count = 0
    if block:
        for length in range(1, min(BLOCK_TOKENS, len(completion)) + 1):
            if block.startswith(decode_text(tokenizer, completion[:length])):
                count = length
    return count


def _heading(tokenizer: PreTrainedTokenizerBase, completion: list[int], given: str) -> str:
    """Returns what a template writes before a completion, blanks aside."""
    before, found, _ = decode_text(tokenizer, completion).partition(given.strip())
    return before.strip() if found and given.strip() else ""


def _has_own_block(text: str) -> bool:
    """Returns whether a completion begins with a block of reasoning that has something in it."""
    return _OPENING.match(text) is not None and closes_block(text) and not _empty_block(text)


def _without_opening(text: str, prompt: str) -> str:
    """Returns a completion without the tag, and the blanks behind it, that its prompt ends with."""
    found = _OPENING.match(text)
    if found is None:
        return text
    rest, blanks = text[found.end() :], prompt[len(prompt.rstrip()) :]
    while blanks and not rest.startswith(blanks):
        blanks = blanks[:-1]
    return rest.removeprefix(blanks)


def _empty_block(text: str) -> str:
    """Returns the empty block that a completion starts with, blanks around included, else an empty string."""
    found = _EMPTY.match(text)
    return found[0] if found else ""


def shown_tokens(tokenizer: PreTrainedTokenizerBase, encoded: Encoded) -> list[tuple[str, bool]]:
    """Returns each token's text and whether it contributes to the loss."""
    return [
        (decode_text(tokenizer, [token]), position >= encoded.prompt_length)
        for position, token in enumerate(encoded.input_ids)
    ]

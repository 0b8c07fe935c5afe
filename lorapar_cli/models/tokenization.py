"""From a record to tokens: prompts for scoring, training and evaluation are rendered here only.

With a chat template the prompt is a user message (or the record's own messages) and the completion
the assistant's; without one the prompt is its text and a newline.
"""

from dataclasses import dataclass
from typing import cast

from jinja2 import TemplateError
from transformers import BatchEncoding, PreTrainedTokenizerBase

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.records import Message, Record


@dataclass(frozen=True)
class Encoded:
    """One record's tokens.

    Attributes:
        input_ids: Prompt, completion and end of sequence.
        prompt_length: Number of leading tokens that do not contribute to the loss.
    """

    input_ids: list[int]
    prompt_length: int

    @property
    def completion_length(self) -> int:
        """Number of tokens that contribute to the loss, end of sequence included."""
        return len(self.input_ids) - self.prompt_length


def to_messages(prompt: str | list[Message]) -> list[Message]:
    """Returns the prompt as chat messages."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


def to_text(prompt: str | list[Message]) -> str:
    """Returns the prompt as plain text, for models without a chat template."""
    if isinstance(prompt, str):
        return prompt + "\n"
    return "".join(f"{message['role']}: {message['content']}\n" for message in prompt)


def trainer_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: str | list[Message]
) -> str | list[Message]:
    """Returns the prompt in the form that TRL tokenizes to the same ids as `encode_prompt`."""
    return to_messages(prompt) if tokenizer.chat_template else to_text(prompt)


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str | list[Message]) -> list[int]:
    """Returns the prompt's token ids, ready for generation.

    Raises:
        LoraparError: The chat template refuses the messages.
    """
    if tokenizer.chat_template:
        return _render(tokenizer, to_messages(prompt), add_generation_prompt=True)
    return tokenizer(to_text(prompt))["input_ids"]


def _render(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[Message],
    *,
    add_generation_prompt: bool = False,
) -> list[int]:
    """Returns the token ids of a conversation in the model's chat template.

    Raises:
        LoraparError: The template refuses the messages.
    """
    try:
        rendered = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, add_generation_prompt=add_generation_prompt
        )
    except Exception as cause:
        # A template is a program of its author's and raises what it likes.
        roles = ", ".join(message["role"] for message in messages)
        named = (
            str(cause) if isinstance(cause, TemplateError) else f"{type(cause).__name__}: {cause}"
        )
        raise LoraparError(
            "the chat template does not accept a record's messages",
            f"{named}; its roles are {roles}",
            "give another template with `--template`, or change the records",
        ) from cause
    return cast(BatchEncoding, rendered)["input_ids"]


def decode_text(
    tokenizer: PreTrainedTokenizerBase, tokens: list[int], *, skip_special_tokens: bool = False
) -> str:
    """Returns the text of one list of token ids."""
    return cast(str, tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens))


def encode(tokenizer: PreTrainedTokenizerBase, record: Record) -> Encoded:
    """Returns the record's tokens; completion and end of sequence contribute to the loss."""
    prompt = encode_prompt(tokenizer, record.prompt)
    completion = _completion_from_template(tokenizer, record, prompt)
    if completion is None:
        completion = tokenizer(record.completion, add_special_tokens=False)["input_ids"]
    if not completion or completion[-1] != tokenizer.eos_token_id:
        completion = [*completion, tokenizer.eos_token_id]
    return Encoded([*prompt, *completion], len(prompt))


def _completion_from_template(
    tokenizer: PreTrainedTokenizerBase, record: Record, prompt: list[int]
) -> list[int] | None:
    """Returns what the template puts after the prompt, up to and including the end of sequence.

    None without a template, or where the rendered conversation does not start with the prompt
    (templates that rewrite earlier turns).
    """
    if not tokenizer.chat_template:
        return None
    messages = [*to_messages(record.prompt), {"role": "assistant", "content": record.completion}]
    whole = _render(tokenizer, messages)
    if whole[: len(prompt)] != prompt:
        return None
    completion = whole[len(prompt) :]
    # A newline that the template adds after the end of sequence is never generated. Words there
    # belong to the answer, which contains the end of sequence.
    if tokenizer.eos_token_id in completion:
        after = len(completion) - completion[::-1].index(tokenizer.eos_token_id)
        if not decode_text(tokenizer, completion[after:]).strip():
            completion = completion[:after]
    return completion


def shown_tokens(tokenizer: PreTrainedTokenizerBase, encoded: Encoded) -> list[tuple[str, bool]]:
    """Returns each token's text and whether it contributes to the loss."""
    return [
        (decode_text(tokenizer, [token]), position >= encoded.prompt_length)
        for position, token in enumerate(encoded.input_ids)
    ]

"""From a record to tokens: the one place that renders prompts, for scoring, training and eval.

With a chat template the prompt is a user message (or the record's own messages) and the completion
the assistant's; without one the prompt is its text and a newline.
"""

from dataclasses import dataclass

from jinja2 import TemplateError

from lorapar_cli.errors import LoraparError
from lorapar_cli.store.records import Message, Record


@dataclass(frozen=True)
class Encoded:
    """One record's tokens.

    Attributes:
        input_ids: Prompt, completion and end of sequence.
        prompt_length: Number of leading tokens that carry no loss.
    """

    input_ids: list[int]
    prompt_length: int

    @property
    def completion_length(self) -> int:
        """Number of tokens that carry loss, end of sequence included."""
        return len(self.input_ids) - self.prompt_length


def to_messages(prompt: str | list[Message]) -> list[Message]:
    """Returns the prompt as chat messages."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


def to_text(prompt: str | list[Message]) -> str:
    """Returns the prompt as plain text, for models without a chat template."""
    if isinstance(prompt, str):
        return prompt + "\n"
    return "".join(f"{message['role']}: {message['content']}\n" for message in prompt)


def trainer_prompt(tokenizer, prompt: str | list[Message]) -> str | list[Message]:
    """Returns the prompt in the form that TRL tokenizes to the same ids as `encode_prompt`."""
    return to_messages(prompt) if tokenizer.chat_template else to_text(prompt)


def encode_prompt(tokenizer, prompt: str | list[Message]) -> list[int]:
    """Returns the prompt's token ids, ready for generation."""
    if tokenizer.chat_template:
        return _render(tokenizer, to_messages(prompt), add_generation_prompt=True)
    return tokenizer(to_text(prompt))["input_ids"]


def _render(tokenizer, messages: list[Message], **options) -> list[int]:
    """Returns the token ids of a conversation in the model's chat template.

    Raises:
        LoraparError: The template refuses the messages.
    """
    try:
        return tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)[
            "input_ids"
        ]
    except TemplateError as cause:
        roles = ", ".join(message["role"] for message in messages)
        raise LoraparError(
            "the chat template does not take a record's messages",
            f"{cause}; its roles are {roles}",
            "give another template with `--template`, or change the records",
        ) from cause


def encode(tokenizer, record: Record) -> Encoded:
    """Returns the record's tokens; completion and end of sequence carry loss."""
    prompt = encode_prompt(tokenizer, record.prompt)
    completion = _completion_from_template(tokenizer, record, prompt)
    if completion is None:
        completion = tokenizer(record.completion, add_special_tokens=False)["input_ids"]
    if not completion or completion[-1] != tokenizer.eos_token_id:
        completion = [*completion, tokenizer.eos_token_id]
    return Encoded([*prompt, *completion], len(prompt))


def _completion_from_template(tokenizer, record: Record, prompt: list[int]) -> list[int] | None:
    """Returns what the template puts after the prompt, up to and with the end of sequence.

    None without a template, or where the rendered conversation does not begin with the prompt
    (templates that rewrite earlier turns).
    """
    if not tokenizer.chat_template:
        return None
    messages = [*to_messages(record.prompt), {"role": "assistant", "content": record.completion}]
    whole = _render(tokenizer, messages)
    if whole[: len(prompt)] != prompt:
        return None
    completion = whole[len(prompt) :]
    # A newline that the template adds after the end of sequence is never generated. Words there are
    # the answer's own, which has the end of sequence within it.
    if tokenizer.eos_token_id in completion:
        behind = len(completion) - completion[::-1].index(tokenizer.eos_token_id)
        if not tokenizer.decode(completion[behind:]).strip():
            completion = completion[:behind]
    return completion


def shown_tokens(tokenizer, encoded: Encoded) -> list[tuple[str, bool]]:
    """Returns each token's text and whether it carries loss."""
    return [
        (tokenizer.decode([token]), position >= encoded.prompt_length)
        for position, token in enumerate(encoded.input_ids)
    ]

"""From a prompt to tokens: prompts for scoring, training and evaluation are rendered here only.

With a chat template the prompt is a user message (or the record's own messages) and the completion
the assistant's; without one the prompt is its text and a newline.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

from jinja2 import TemplateError
from transformers import BatchEncoding, PreTrainedTokenizerBase

from lorapar_cli.errors import LoraparError
from lorapar_cli.models.rendering.blocks import BLOCK_TOKENS, may_open_block, opens_block
from lorapar_cli.models.rendering.kept_text import keeps_words
from lorapar_cli.store.records import Message, Record

Tools = list[dict[str, Any]] | None


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


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str | list[Message],
    tools: Tools = None,
    record_id: str | None = None,
) -> list[int]:
    """Returns the prompt's token ids, ready for generation.

    Args:
        tools: Definitions of the tools that the model may call.
        record_id: Of the record whose prompt it is, for messages.

    Raises:
        LoraparError: The chat template refuses the messages, makes nothing of them, leaves the last
            one out, or takes no tools.
    """
    _require_tool_support(tokenizer, prompt, tools, record_id)
    if tokenizer.chat_template:
        messages = to_messages(prompt)
        rendered = render_conversation(tokenizer, messages, tools, add_generation_prompt=True)
        if not rendered:
            raise LoraparError(
                "the chat template renders a prompt as nothing",
                f"record `{record_id}`" if record_id else None,
                "give another template with `--template`",
            )
        _require_content(tokenizer, messages[-1], rendered, record_id)
        return rendered
    return tokenizer(to_text(prompt))["input_ids"]


def _require_content(
    tokenizer: PreTrainedTokenizerBase,
    message: Message,
    rendered: list[int],
    record_id: str | None,
) -> None:
    """Refuses a template that leaves out what is asked, as those for lists of contents do.

    Raises:
        LoraparError: It does.
    """
    content = message["content"]
    unknown = tokenizer.unk_token_id
    if not isinstance(content, str) or (unknown is not None and unknown in rendered):
        return
    if not keeps_words(content, decode_text(tokenizer, rendered)):
        raise LoraparError(
            "the chat template leaves out what the last message of a prompt says",
            f"record `{record_id}`" if record_id else None,
            "give a template for texts with `--template`",
        )


def has_tools(prompt: str | list[Message], tools: Tools = None) -> bool:
    """Returns whether a prompt has tools that may be called, or calls of tools."""
    called = not isinstance(prompt, str) and any("tool_calls" in message for message in prompt)
    return bool(tools) or called


def _require_tool_support(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str | list[Message],
    tools: Tools,
    record_id: str | None,
) -> None:
    """Refuses tools where the template would leave them out without a word.

    Raises:
        LoraparError: There is no template, or it does not read what the prompt has.
    """
    if not has_tools(prompt, tools):
        return
    template = tokenizer.get_chat_template(tools=tools) if tokenizer.chat_template else ""
    needed = ["tools"] if tools else []
    needed += ["tool_calls"] if has_tools(prompt) else []
    if missing := [name for name in needed if name not in template]:
        raise LoraparError(
            "the model's chat template does not take the tools of "
            + (f"record `{record_id}`" if record_id else "a prompt"),
            f"`{missing[0]}` does not occur in it" if template else "there is no chat template",
            "give another template with `--template`, or leave such records out",
        )


def render_conversation(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[Message],
    tools: Tools,
    *,
    add_generation_prompt: bool = False,
) -> list[int]:
    """Returns the token ids of a conversation in the model's chat template.

    Raises:
        LoraparError: The template refuses the messages.
    """
    try:
        rendered = tokenizer.apply_chat_template(
            [_with_parsed_arguments(message) for message in messages],
            tools=cast(Any, tools),
            tokenize=True,
            return_dict=True,
            add_generation_prompt=add_generation_prompt,
        )
    except LoraparError:
        raise
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


def _with_parsed_arguments(message: Message) -> Message:
    """Returns a message whose tool calls have objects as arguments, which templates write as JSON.

    The API's messages have them as JSON text, which would be quoted once more.
    """
    if "tool_calls" not in message:
        return message
    calls = []
    for call in message["tool_calls"]:
        arguments = call["function"].get("arguments")
        if isinstance(arguments, str):
            with suppress(ValueError):  # What is not JSON stays as the model wrote it.
                arguments = json.loads(arguments)
        calls.append(call | {"function": call["function"] | {"arguments": arguments}})
    return message | {"tool_calls": calls}


def decode_text(
    tokenizer: PreTrainedTokenizerBase, tokens: list[int], *, skip_special_tokens: bool = False
) -> str:
    """Returns the text of one list of token ids."""
    return cast(str, tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens))


def continues_block(tokenizer: PreTrainedTokenizerBase, prompt: list[int]) -> bool:
    """Returns whether a completion of a prompt begins inside a block that the prompt opens."""
    return opens_block(decode_text(tokenizer, prompt[-BLOCK_TOKENS:])) is not None


def in_blocks(tokenizer: PreTrainedTokenizerBase, records: Sequence[Record]) -> list[bool]:
    """Returns whether completions of each record's prompt begin inside a block."""
    # Rendering every prompt is for templates that may open one.
    if not may_open_block(str(tokenizer.chat_template or "")):
        return [False] * len(records)
    return [
        continues_block(tokenizer, encode_prompt(tokenizer, record.prompt, record.tools, record.id))
        for record in records
    ]

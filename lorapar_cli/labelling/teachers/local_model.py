"""`hf:PATH`: a local transformers model as a teacher, in this process."""

from lorapar_cli.errors import LoraparError
from lorapar_cli.labelling.teachers.endpoint.reply import Reply
from lorapar_cli.labelling.teachers.teacher import Teacher
from lorapar_cli.libraries import MODELS, require_libraries
from lorapar_cli.models.rendering.chat_template import ChatTemplate, read_arguments
from lorapar_cli.store.records import Message

BATCH = 8


class LocalTeacher:
    """A causal LM, loaded once, that answers chats greedily.

    Its own generation settings apply where they change a greedy answer and causal LMs are
    published with them: end tokens and repetition penalty.

    Raises:
        LoraparError: There is no such model, it is not a causal LM, or its chat template refuses
            the prompt.
    """

    def __init__(self, teacher: Teacher, trust_remote_code: bool = False) -> None:
        require_libraries(MODELS, f"teacher `{teacher.name}`")
        # torch and transformers take seconds to import, and other teachers need neither.
        from lorapar_cli.models.base_model import (
            find_base_model,
            load_base,
            load_tokenizer,
            transformers_model,
        )
        from lorapar_cli.models.generation import Decoding

        base = find_base_model(teacher.model, trust_remote_code)
        if base.encoder_decoder:
            raise LoraparError(
                f"teacher `{teacher.name}` is an encoder-decoder model",
                hint="use a decoder-only model, or serve this one over HTTP",
            )
        self._name, self._max_length = teacher.name, base.max_length
        template = ChatTemplate(None, read_arguments(teacher.template_args))
        self._tokenizer = load_tokenizer(base, trust_remote_code, template)
        self._model = load_base(base, trust_remote_code=trust_remote_code)
        settings = transformers_model(self._model).generation_config
        penalty = getattr(settings, "repetition_penalty", None) or 1.0
        self._decoding = Decoding(teacher.max_tokens, repetition_penalty=penalty)

    def answer(self, chats: list[list[Message]]) -> list[Reply | None]:
        """Returns the reply to each chat; None to one that is longer than the model can read."""
        prompts = [self._encode(chat) for chat in chats]
        replies = iter(self._complete([prompt for prompt in prompts if self._fits(prompt)]))
        return [next(replies) if self._fits(prompt) else None for prompt in prompts]

    def _fits(self, prompt: list[int]) -> bool:
        return self._max_length is None or len(prompt) < self._max_length

    def _encode(self, chat: list[Message]) -> list[int]:
        from lorapar_cli.models.rendering.tokenization import encode_prompt

        try:
            return encode_prompt(self._tokenizer, chat)
        except Exception as cause:
            # Templates are programs of the model's authors and raise whatever they like.
            own = cause.__cause__ if isinstance(cause, LoraparError) else cause
            raise LoraparError(
                f"the chat template of teacher `{self._name}` refuses the prompt",
                next(iter(str(own).strip().splitlines()), type(own).__name__),
                "give a `--prompt-template` without a system part",
            ) from cause

    def _complete(self, prompts: list[list[int]]) -> list[Reply]:
        from lorapar_cli.models.generation import complete_batch

        if not prompts:
            return []
        completions = complete_batch(
            self._model,
            self._tokenizer,
            prompts,
            self._decoding.within(self._max_length, prompts),
            memory_hint="use a smaller model, or serve this one over HTTP",
        )
        return [
            Reply(written.text, len(prompt), written.tokens, cut=not written.finished)
            for prompt, written in zip(prompts, completions, strict=True)
        ]

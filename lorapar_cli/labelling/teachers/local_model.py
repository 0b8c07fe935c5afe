"""`hf:PATH`: a local transformers model as a teacher, in this process."""

from lorapar_cli.errors import LoraparError
from lorapar_cli.labelling.teachers.client import Reply
from lorapar_cli.labelling.teachers.teacher import Teacher
from lorapar_cli.store.records import Message

BATCH = 8


class LocalTeacher:
    """A causal LM, loaded once, that answers chats greedily.

    Raises:
        LoraparError: There is no such model, or its chat template refuses the prompt.
    """

    def __init__(self, teacher: Teacher, trust_remote_code: bool = False) -> None:
        # torch and transformers take seconds to import, and other teachers need neither.
        from lorapar_cli.models.base_model import find_base_model, load_base, load_tokenizer

        base = find_base_model(teacher.model, trust_remote_code)
        self._name, self._most = teacher.name, teacher.max_tokens
        self._tokenizer = load_tokenizer(base, trust_remote_code)
        self._model = load_base(base, trust_remote_code=trust_remote_code)
        self._longest = getattr(self._model.config, "max_position_embeddings", None) or 2**31

    def answer(self, chats: list[list[Message]]) -> list[Reply | None]:
        """Returns the answer to each chat; None to one that is longer than the model can read."""
        encoded = [self._encode(chat) for chat in chats]
        fitting = [ids for ids in encoded if len(ids) < self._longest]
        answers = iter(self._generate(fitting) if fitting else [])
        return [next(answers) if len(ids) < self._longest else None for ids in encoded]

    def _encode(self, chat: list[Message]) -> list[int]:
        from lorapar_cli.models.tokenization import encode_prompt

        try:
            return encode_prompt(self._tokenizer, chat)
        except Exception as cause:
            # Templates are programs of the model's authors and raise whatever they like.
            raise LoraparError(
                f"the chat template of teacher `{self._name}` refuses the prompt",
                str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__,
                "give a `--prompt-template` without a system part",
            ) from cause

    def _generate(self, prompts: list[list[int]]) -> list[Reply]:
        import torch

        width = max(map(len, prompts))
        pad = self._tokenizer.pad_token_id
        device = self._model.device
        # Padded on the left, so that every answer begins right behind its prompt.
        padded = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
        with torch.inference_mode():
            made = self._model.generate(
                input_ids=padded,
                attention_mask=mask,
                max_new_tokens=min(self._most, self._longest - width),
                do_sample=False,
                pad_token_id=pad,
            )[:, width:]
        ends = {pad, *_as_list(self._model.generation_config.eos_token_id)}
        return [
            Reply(
                self._tokenizer.decode(row, skip_special_tokens=True),
                len(prompt),
                int((row != pad).sum()),
                cut=int(row[-1]) not in ends,
            )
            for prompt, row in zip(prompts, made, strict=True)
        ]


def _as_list(ids: int | list[int] | None) -> list[int]:
    if ids is None:
        return []
    return ids if isinstance(ids, list) else [ids]

"""Tokenizers and chat templates built after those of published models, and the tokens they make.

Special tokens, their places and what becomes of a block of reasoning are those of the published
models; words are single bytes, but for pairs of newlines and the answer `42`, which are one token
as they are there.
"""

from dataclasses import dataclass, field, replace

from lorapar_cli.store.records import Record

NL, NN = "Ċ", "ĊĊ"
"""Tokens of one newline and of two."""
SPACE = "Ġ"

_QWEN = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' }}"
    "{%- if m.role == 'assistant' and loop.last %}"
    "{%- set parts = m.content.split('</think>') %}"
    "{{- '<think>\n' + (parts[0].split('<think>')[-1].strip('\n') if parts | length > 1 else '') "
    "+ '\n</think>\n\n' + parts[-1].lstrip('\n') }}"
    "{%- else %}{{- m.content }}{%- endif %}{{- '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
)
_HYBRID = _QWEN + (
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}"
)
_THINKING = _QWEN + "{{- '<think>\n' }}{%- endif %}"
_R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '<|User|>' + m.content }}"
    "{% else %}{{ '<|Assistant|>' + m.content.split('</think>')[-1] + eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}"
)
_LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + "
    "'<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)
_GEMMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + "
    "('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim + "
    "'<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
_MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}"
    "{% endif %}{% endfor %}"
)
_PHI3 = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
_HARMONY = (
    "{{ '<|start|>system<|message|>Be terse.<|end|>' }}"
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m.content }}"
    "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}"
    "{% else %}{{ '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant' }}"
    "{% if direct is defined and direct %}{{ '<|channel|>final<|message|>' }}{% endif %}"
    "{% endif %}"
)
_CHANNELS = ("<|end|>", "<|return|>", "<|start|>", "<|channel|>", "<|message|>")
_FINAL = ("<|channel|>", *"final", "<|message|>")
_IM = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
_CLOSED = ("<think>", NN, "</think>", NN)


@dataclass(frozen=True)
class Family:
    """How one family of models is asked.

    Attributes:
        special: Tokens that are not words; the first is that of padding.
        before, after: Tokens around the question, up to where the model begins to write.
        block: Tokens of an empty block of reasoning that stand between prompt and direct answer
            and carry no loss.
        ending: Tokens behind an answer, which carry loss.
        reasoned: Tokens that carry loss of an answer with reasoning; None where there is none.
        leading: What stands before a direct answer and carries loss.
        arguments: Of the chat template, as KEY=VALUE.
        starts: Whether the tokenizer itself puts its first token before a text.
        ends: Token that the tokenizer itself puts behind a text.
    """

    name: str
    template: str | None
    special: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    ending: tuple[str, ...]
    block: tuple[str, ...] = ()
    reasoned: tuple[str, ...] | None = None
    leading: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    bos: str | None = None
    starts: bool = False
    ends: str | None = None
    eos: str = field(kw_only=True)

    def records(self) -> list[Record]:
        """Returns four records to ask about, the last one with reasoning where there is some."""
        reasoned = "42" if self.reasoned is None else "<think>\n6*7\n</think>\n\n42"
        return [
            Record("r0", "6*7?", "42", "42"),
            Record("r1", "Why?\n\nSay.", "So\n\n42", "42"),
            Record("r2", " 2*21? ", "42", "42"),
            Record("r3", "42?", reasoned, "42"),
        ]

    def prompts(self) -> list[list[str]]:
        """Returns the tokens that generation starts from, of each record."""
        questions = [
            ["6", "*", "7", "?"],
            ["W", "h", "y", "?", NN, "S", "a", "y", "."],
            # Some templates strip messages; nothing of ours does.
            self._strip([SPACE, "2", "*", "2", "1", "?", SPACE]),
            ["42", "?"],
        ]
        return [[*self.before, *question, *self.after] for question in questions]

    def _strip(self, question: list[str]) -> list[str]:
        return question[1:-1] if "trim" in (self.template or "") else question

    def trained(self) -> list[tuple[list[str], list[str]]]:
        """Returns the tokens of context and those that carry loss, of each record."""
        direct = [*self.leading, "42", *self.ending]
        answers = [direct, [*self.leading, "S", "o", NN, "42", *self.ending], direct]
        prompts = self.prompts()
        rows = [
            ([*prompt, *self.block], answer)
            for prompt, answer in zip(prompts[:3], answers, strict=True)
        ]
        if self.reasoned is None:
            return [*rows, ([*prompts[3], *self.block], direct)]
        return [*rows, (prompts[3], [*self.reasoned, *self.ending])]

    def tokenizer(self):
        """Returns the tokenizer, with the chat template."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers
        from tokenizers.processors import TemplateProcessing
        from transformers import PreTrainedTokenizerFast

        words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), NN, "42"]
        vocabulary = {token: index for index, token in enumerate([*self.special, *words])}
        made = Tokenizer(models.BPE(vocab=vocabulary, merges=[(NL, NL), ("4", "2")]))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        made.decoder = decoders.ByteLevel()
        made.add_special_tokens(list(self.special))
        around = [self.bos if self.starts else None, "$A", self.ends]
        if around != [None, "$A", None]:
            made.post_processor = TemplateProcessing(
                single=[each for each in around if each is not None],
                special_tokens=[(each, vocabulary[each]) for each in around if each in vocabulary],
            )
        return PreTrainedTokenizerFast(
            tokenizer_object=made,
            pad_token=self.special[0],
            bos_token=self.bos,
            eos_token=self.eos,
            chat_template=self.template,
        )


_QWEN_BEFORE = ("<|im_start|>", *"user", NL)
_QWEN_AFTER = ("<|im_end|>", NL, "<|im_start|>", *"assistant", NL)

_HARMONY_SYSTEM = ("<|start|>", *"system", "<|message|>", *"Be", SPACE, *"terse.", "<|end|>")

FAMILIES = [
    Family(
        "qwen3",
        _HYBRID,
        ("<|endoftext|>", *_IM),
        _QWEN_BEFORE,
        _QWEN_AFTER,
        ("<|im_end|>",),
        block=_CLOSED,
        reasoned=("<think>", NL, "6", "*", "7", NL, "</think>", NN, "42"),
        eos="<|im_end|>",
    ),
    Family(
        "qwen3-without-thinking",
        _HYBRID,
        ("<|endoftext|>", *_IM),
        _QWEN_BEFORE,
        (*_QWEN_AFTER, *_CLOSED),
        ("<|im_end|>",),
        arguments=("enable_thinking=false",),
        eos="<|im_end|>",
    ),
    Family(
        "qwen3-thinking",
        _THINKING,
        ("<|endoftext|>", *_IM),
        _QWEN_BEFORE,
        (*_QWEN_AFTER, "<think>", NL),
        ("<|im_end|>",),
        block=(NL, "</think>", NN),
        reasoned=("6", "*", "7", NL, "</think>", NN, "42"),
        eos="<|im_end|>",
    ),
    Family(
        "deepseek-r1",
        _R1,
        ("<|pad|>", "<|begin|>", "<|end|>", "<|User|>", "<|Assistant|>", "<think>", "</think>"),
        ("<|begin|>", "<|User|>"),
        ("<|Assistant|>", "<think>", NL),
        ("<|end|>",),
        block=(NL, "</think>", NN),
        reasoned=("6", "*", "7", NL, "</think>", NN, "42"),
        bos="<|begin|>",
        starts=True,
        eos="<|end|>",
    ),
    Family(
        "llama-3",
        _LLAMA3,
        ("<|pad|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        ("<|begin_of_text|>", "<|start_header_id|>", *"user", "<|end_header_id|>", NN),
        ("<|eot_id|>", "<|start_header_id|>", *"assistant", "<|end_header_id|>", NN),
        ("<|eot_id|>",),
        bos="<|begin_of_text|>",
        starts=True,
        eos="<|eot_id|>",
    ),
    Family(
        "gemma-3",
        _GEMMA3,
        ("<pad>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        ("<bos>", "<start_of_turn>", *"user", NL),
        ("<end_of_turn>", NL, "<start_of_turn>", *"model", NL),
        # The turn ends with a token of its own; the end of sequence follows.
        ("<end_of_turn>", NL, "<eos>"),
        bos="<bos>",
        starts=True,
        eos="<eos>",
    ),
    Family(
        "mistral",
        _MISTRAL,
        ("<pad>", "<s>", "</s>", "[INST]", "[/INST]"),
        ("<s>", "[INST]", SPACE),
        (SPACE, "[/INST]"),
        ("</s>",),
        # The blank before an answer is the model's to write.
        leading=(SPACE,),
        bos="<s>",
        starts=True,
        eos="</s>",
    ),
    Family(
        "phi-3",
        _PHI3,
        ("<|placeholder|>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"),
        ("<|user|>", NL),
        ("<|end|>", NL, "<|assistant|>", NL),
        ("<|end|>", NL, "<|endoftext|>"),
        eos="<|endoftext|>",
    ),
    Family("gpt-2", None, ("<|endoftext|>",), (), (NL,), ("<|endoftext|>",), eos="<|endoftext|>"),
    # A base model without a template, as in the paper: its tokenizer starts every text.
    Family(
        "llama-2",
        None,
        ("<unk>", "<s>", "</s>"),
        ("<s>",),
        (NL,),
        ("</s>",),
        bos="<s>",
        starts=True,
        eos="</s>",
    ),
    # The channel of an answer is the model's to choose, and its header to write.
    Family(
        "gpt-oss",
        _HARMONY,
        ("<|endoftext|>", *_CHANNELS),
        (*_HARMONY_SYSTEM, "<|start|>", *"user", "<|message|>"),
        ("<|end|>", "<|start|>", *"assistant"),
        ("<|return|>",),
        leading=_FINAL,
        eos="<|return|>",
    ),
    # Unless prompts end with it.
    Family(
        "gpt-oss-direct",
        _HARMONY,
        ("<|endoftext|>", *_CHANNELS),
        (*_HARMONY_SYSTEM, "<|start|>", *"user", "<|message|>"),
        ("<|end|>", "<|start|>", *"assistant", *_FINAL),
        ("<|return|>",),
        arguments=("direct=true",),
        eos="<|return|>",
    ),
    # It ends every text with another token than the end of sequence.
    Family(
        "separating",
        None,
        ("<pad>", "<cls>", "<sep>", "<eos>"),
        ("<cls>",),
        (NL,),
        ("<eos>",),
        bos="<cls>",
        starts=True,
        ends="<sep>",
        eos="<eos>",
    ),
]

_BY_NAME = {family.name: family for family in FAMILIES}
# Tokenizers that end every text, which would stand between prompt and answer; the template of the last
# one starts a conversation with what the tokenizer starts a text with.
FAMILIES += [
    replace(_BY_NAME[name], name=f"{name}-ending", ends=_BY_NAME[name].eos)
    for name in ("llama-2", "gpt-2", "mistral")
]

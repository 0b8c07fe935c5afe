"""Drops from a completion what is not part of its answer: thoughts, control words, run-on text."""

import re

_THOUGHT = re.compile(r"<think(?:ing)?>|\[THINK\]|<\|begin_of_thought\|>", re.IGNORECASE)
_THOUGHT_END = re.compile(r"</think(?:ing)?>|\[/THINK\]|<\|end_of_thought\|>", re.IGNORECASE)
_REASONING_END = re.compile(r"</reasoning>", re.IGNORECASE)
# gpt-oss marks its thoughts and its answer as channels.
_CHANNEL = "<|channel|>"
_FINAL_CHANNEL = re.compile(r"<\|channel\|>final\s?(?:<\|[^|<>]{1,30}\|>[^<]{0,30})?<\|message\|>")
# The same where a tokenizer has dropped the marks, which leaves their names without a blank behind.
_BARE_THOUGHTS = re.compile(r"\A(?:analysis|commentary)(?=[A-Z0-9\"'(*$\\])")
_BARE_FINAL = "assistantfinal"
_BARE_ANSWER = re.compile(r"\Afinal(?=[A-Z0-9#\"'(*$\\-])")
# Words by which tokenizers mark the beginning and the end of turns, spelled out.
_CONTROL = re.compile(
    r"<[|｜][^<>|｜\n]{1,40}[|｜]>|</?s>|<(?:bos|eos|pad|unk|(?:start|end)_of_turn)>"
    r"|\[/?INST\]|\[EOS\]|\[SEP\]"
)
_ROLE = re.compile(r"\s*(?:assistant|model)?\s*", re.IGNORECASE)
# A heading under which another question begins.
_RUN_ON = re.compile(
    r"^[ \t>*_#]{0,8}(?:Question|Q|Problem|Human|User|Student|Instruction|Frage|Aufgabe|Pregunta"
    r"|Problema|Pergunta|Domanda|Вопрос|Задача|问题|問題|質問|প্রশ্ন|ప్రశ్న|คำถาม|Swali)"
    r"[ #]{0,2}\d{0,3}[*_ ]{0,4}[:：]|(?<=[.!?] )Question:|^#{2,4} (?:Input|Instruction|Question|Problem)\b",
    re.MULTILINE | re.IGNORECASE,
)
_ANSWERED = re.compile(
    r"\d|\\(?:boxed|fbox)|<answer>|####|\b(?:answer|antwort|respuesta)\b|答案|答え", re.I
)
_FEW_WORDS = 3
_MOST_HEADINGS = 20
# GSM8K's solutions show each calculation inside the text.
_CALCULATION = re.compile(r"<<[^<>\n]{0,200}>>")


def without_thoughts(text: str) -> str:
    """Returns a text without thoughts; one may begin before the text or be cut off."""
    head, *rest = _THOUGHT.split(text)
    said = [_THOUGHT_END.split(head)[-1]]
    for piece in rest:
        _, *after = _THOUGHT_END.split(piece)
        said += after[-1:]
    return "".join(said)


def without_control_words(text: str) -> str:
    """Returns the first turn of a text, without the words that mark its beginning and its end."""
    begin = 0
    for word in _CONTROL.finditer(text):
        before = text[begin : word.start()]
        if before.strip():
            return before
        role = _ROLE.match(text, word.end())
        begin = role.end() if role and word[0] != "<s>" else word.end()
    return text[begin:]


def clean(text: str) -> str:
    """Returns the part of a completion that answers the question."""
    text = final_channel(without_thoughts(text))
    *_, after = _REASONING_END.split(text)
    if after.strip():
        text = after
    return _CALCULATION.sub("", _without_run_on(without_control_words(text)))


def final_channel(text: str) -> str:
    """Returns what a text in channels says in its last one; another text as it is."""
    if _CHANNEL not in text:
        if _BARE_THOUGHTS.match(text):
            return text.rpartition(_BARE_FINAL)[2] if _BARE_FINAL in text else ""
        return _BARE_ANSWER.sub("", text)
    *before, final = _FINAL_CHANNEL.split(text)
    return final if before else ""


def _without_run_on(text: str) -> str:
    """Returns a text up to the first new question that comes after an answer."""
    for number, heading in enumerate(_RUN_ON.finditer(text)):
        if number == _MOST_HEADINGS:
            break
        before = text[: heading.start()].strip()
        is_question = _RUN_ON.match(before) and "\n" not in before
        is_answered = _ANSWERED.search(before) or len(before.split()) <= _FEW_WORDS
        if before and is_answered and not is_question:
            return text[: heading.start()]
    return text

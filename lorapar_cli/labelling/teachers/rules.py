"""Offline teachers: rules that look at different aspects of a record and may disagree.

Each is a plain function from a record to its vote and the reason in words. None reads a label.
They are cheap stand-ins where no model is at hand; the documentation of teachers states their
accuracy on data with known labels.
"""

import json
import re
from collections.abc import Callable

from lorapar_cli.names import System
from lorapar_cli.plurals import counted
from lorapar_cli.store.records import Record

RuleVote = tuple[System, str]
Rule = Callable[[Record], RuleVote]


def prompt_text(record: Record) -> str:
    """Returns the prompt as one text; for chat messages, their contents and calls of tools."""
    if isinstance(record.prompt, str):
        return record.prompt
    parts: list[str] = []
    for message in record.prompt:
        calls = [json.dumps(call["function"]) for call in message.get("tool_calls", [])]
        parts += [message["content"], *calls] if message["content"] or not calls else calls
    return "\n".join(parts)


_CLAUSE = re.compile(r"[.;?!:,]\s|\s(?:and|but|which|who|so|then|if)\s|\n")

_OPERATION = re.compile(
    r"\b(?:add(?:s|ed)?|plus|sum|subtract(?:s|ed)?|minus|take away|less|fewer|more|times|multiply|"
    r"multiplied|product|divide[sd]?|double[sd]?|twice|triple[sd]?|half|halve[sd]?|third|quarter|"
    r"split|share[sd]?|each|every|per|percent|gives?|gave|buys?|bought|sells?|sold|loses?|lost|"
    r"spends?|spent|finds?|found|eats?|ate|earns?|left|remain(?:s|ing)?|total|altogether|"
    r"average|ratio|rate)\b|%|(?<=\d)\s*[-+*/x×÷]\s*(?=\d)",
    re.IGNORECASE,
)


def operations(record: Record) -> RuleVote:
    """Counts clauses of the prompt that imply an operation on a quantity; two make System 2."""
    found = []
    for clause in _CLAUSE.split(prompt_text(record)):
        found += [match.group().strip().lower() for match in _OPERATION.finditer(clause)][:1]
    shown = f": {', '.join(found[:6])}" if found else ""
    label = System.SYSTEM2 if len(found) >= 2 else System.SYSTEM1
    return label, f"{counted(len(found), 'operation')} implied{shown}"


_REASONING_CUE = re.compile(
    r"\b(?:why|how (?:would|could|can|does|do|did|long|far|fast)|explain|prove|derive|show that|"
    r"compare|contrast|analy[sz]e|evaluate|design|implement|algorithm|optimi[sz]e|debug|plan|"
    r"strategy|step by step|what went wrong|because|therefore|suppose|assuming|if|then|after|"
    r"before|until|while|remaining|left|in total|altogether|instead|except|result)\b",
    re.IGNORECASE,
)
_RECALL_CUE = re.compile(
    r"\b(?:who|when|where|which|name|list|define|tell me|what colou?r|capital|translate|"
    r"synonyms?|spell|identify|what is (?:the )?(?:name|meaning|definition))\b",
    re.IGNORECASE,
)


_SENTENCE_OR_CLAUSE = re.compile(r"[.;?!]\s|,\s+(?:and|but|which|who|so|then)\b")
_CHOICES = re.compile(r"^(?:[A-Z]\. .*|Answer:)$", re.MULTILINE)


def cues(record: Record) -> RuleVote:
    """Weighs cue words of reasoning against those of recall, and counts the prompt's clauses."""
    text = _CHOICES.sub("", prompt_text(record)).strip()
    reasoning = {match.lower() for match in _REASONING_CUE.findall(text)}
    recall = {match.lower() for match in _RECALL_CUE.findall(text)}
    clauses = len(_SENTENCE_OR_CLAUSE.findall(text)) + 1
    score = len(reasoning) - 2 * len(recall) + (clauses - 2)
    label = System.SYSTEM2 if score >= 1 else System.SYSTEM1
    return label, (
        f"{counted(clauses, 'clause')}, reasoning cues: {', '.join(sorted(reasoning)[:5]) or 'none'}, "
        f"recall cues: {', '.join(sorted(recall)[:5]) or 'none'}"
    )


_EQUATION = re.compile(r"[\d)%]\s*=\s*[<$€£]*\s*-?\d")
_CONTROL_FLOW = re.compile(r"\b(?:for|while|if|elif|else|try|switch|return|lambda|JOIN|def)\b")
_SENTENCE = re.compile(r"[.!?](?:\s|$)")


def shape(record: Record) -> RuleVote:
    """Judges shape and length of the completion: equations, sentences, branches of code, words."""
    text = record.completion
    equations = len(_EQUATION.findall(re.sub(r"<<[^<>]*>>", "", text)))
    words = len(text.split())
    sentences = len(_SENTENCE.findall(text))
    branches = len(_CONTROL_FLOW.findall(text)) if re.search(r"[{};]|\n\s+", text) else 0
    many = equations >= 2 or branches >= 3 or (sentences >= 3 and words >= 40) or words >= 80
    return (
        System.SYSTEM2 if many else System.SYSTEM1,
        f"{counted(words, 'word')}, {counted(sentences, 'sentence')}, "
        f"{counted(equations, 'equation')}, {counted(branches, 'branch', 'branches')}",
    )


# The number is the rule's version: a changed rule is asked again.
RULES: dict[str, tuple[int, Rule]] = {
    "rules-operations": (1, operations),
    "rules-cues": (2, cues),
    "rules-shape": (1, shape),
}

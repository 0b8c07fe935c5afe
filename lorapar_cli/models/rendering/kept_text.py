"""Whether a chat template writes what it is given, where a model is to read or to write it."""

import re
import unicodedata


def keeps_words(given: str, written: str) -> bool:
    """Returns whether a text has a word of what a template was given, or there was none to have.

    Templates trim and rewrite, and tokenizers change case, accents and the blanks within words: only
    a template that leaves a message out altogether is found.
    """
    words = re.findall(r"\w+", _plain(given))
    text = "".join(_plain(written).split())
    return not words or any(word in text for word in words)


def continues_prompt(prompt: str, whole: str, last: str | None, completion: str) -> bool:
    """Returns whether an answer follows in a conversation what it follows when it is generated.

    Compared is what stands between the last message and the answer, blanks aside: templates rewrite
    earlier turns.

    Args:
        prompt: The conversation up to the answer, as it is generated from.
        whole: The conversation with the answer.
        last: Content of the last message before the answer.
        completion: The answer.
    """
    place = whole.rfind(completion.strip())
    if not last or place < 0:
        return True
    before = whole[:place]
    if (at_prompt := prompt.rfind(last)) < 0 or (at_whole := before.rfind(last)) < 0:
        return True
    opening = prompt[at_prompt + len(last) :].strip()
    found = before[at_whole + len(last) :].strip()
    # What a template writes behind all messages may stand in front of the opening in a prompt.
    return found.startswith(opening) or (bool(found) and opening.endswith(found))


def _plain(text: str) -> str:
    """Returns a text without case and accents, which tokenizers may drop."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(each for each in parts if not unicodedata.combining(each))

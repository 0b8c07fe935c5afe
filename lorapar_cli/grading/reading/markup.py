"""Drops the markup of web pages and Markdown that stands next to numbers.

A reader of the rendered text does not see it. Elsewhere it stays: a tag may be the answer.
"""

import re

_NAME = (
    r"(?:abbr|article|audio|a|blockquote|body|br|button|big|b|center|code|dd|del|details|div|dl|dt|em"
    r"|embed|font|footer|form|h[1-6]|head|header|hr|html|iframe|img|input|ins|i|kbd|label|li|link"
    r"|main|mark|meta|object|ol|option|pre|p|script|section|select|small|source|span|strong|strike"
    r"|style|summary|svg|table|tbody|td|textarea|tfoot|thead|th|title|tr|tt|ul|u|video)"
)
_TAG = (
    rf"(?:</?{_NAME}(?:\s[^<>\n]{{0,1000}})?/?>|<!--(?:[^-]|-(?!->)){{0,1000}}(?:-->|$)"
    # Cut off within its attributes.
    rf"|<{_NAME}\s+[a-z-]{{1,40}}=[^<>\n]{{0,1000}}$)"
)
# Bounds keep the time linear in the length of the text.
_TAGS = rf"(?:{_TAG}\s{{0,3}}){{1,8}}"
_TAGS_BEFORE = re.compile(rf"{_TAGS}(?=[-+$€£(*]{{0,3}}\d)", re.IGNORECASE | re.MULTILINE)
_TAGS_AFTER = re.compile(
    rf"(\d[.,)%*]{{0,2}}(?: ?[^\W\d_]{{1,20}})?)\s{{0,3}}{_TAGS}", re.IGNORECASE | re.MULTILINE
)
_RAISED = re.compile(r"(?<=\w)<sup>\s?([-+\u2212]?\d{1,4})\s?</sup>", re.IGNORECASE)
_RAISED_OR_LOWERED = re.compile(r"(?<=\w)</?su[bp]>", re.IGNORECASE)
_BLANK = re.compile(r"&(?:nbsp|thinsp|ensp|emsp|#160|#xa0);", re.IGNORECASE)
_LINK = re.compile(
    r"!?\[([^\[\]\n]{0,100}\d[^\[\]\n]{0,100})\]"
    r"\((?:https?://|www\.|mailto:|[./#])[^()\s]{0,500}(?:\s\"[^\"\n]{0,200}\")?\)"
)
# LaTeX has `~~` as a wide space, which strikes nothing out.
_STRUCK_OUT = re.compile(r"(?<!~)~~(?=[^\s~])[^~\\\n]{0,100}\d[^~\\\n]{0,100}(?<=\S)~~(?!~)")


def without_markup(text: str) -> str:
    """Returns a text without tags and links around numbers, and without struck-out numbers.

    Raised numbers become powers.
    """
    if "<" in text:
        text = _RAISED_OR_LOWERED.sub("", _RAISED.sub(r"^{\1}", text))
        text = _TAGS_AFTER.sub(r"\1 ", _TAGS_BEFORE.sub(" ", text))
    if "&" in text:
        text = _BLANK.sub(" ", text)
    if "](" in text:
        text = _LINK.sub(r"\1", text)
    if "~~" in text:
        text = _STRUCK_OUT.sub(" ", text)
    return text

"""Turns LaTeX, markup and typographic characters into plain text, as a reader sees it."""

import re
import unicodedata

FACTORIAL = "\u203c"
"""Stands for the exclamation mark of a factorial; other exclamation marks end sentences."""

_VULGAR = "\u00bc-\u00be\u2150-\u215e"
_NAMES = {
    **dict.fromkeys(["times", "cdot", "ast"], "×"),
    **dict.fromkeys(["le", "leq", "leqslant"], "≤"),
    **dict.fromkeys(["ge", "geq", "geqslant"], "≥"),
    **dict.fromkeys(["ne", "neq"], "≠"),
    **dict.fromkeys(["approx", "simeq", "sim"], "≈"),
    **dict.fromkeys(["ldots", "dots", "cdots"], "…"),
    **dict.fromkeys(["left", "right", "big", "Big", "bigl", "bigr", "displaystyle"], ""),
    **dict.fromkeys(["quad", "qquad"], " "),
    **dict.fromkeys(["to", "rightarrow", "Rightarrow", "implies"], "→"),
    **{"div": "÷", "pm": "±", "mp": "∓", "lt": "<", "gt": ">", "infty": "∞", "pi": "π"},
    **{"sqrt": "√", "cup": "∪", "cap": "∩", "in": "∈", "colon": ":", "degree": "°"},
    **{"emptyset": "∅", "varnothing": "∅", "circ": "°", "cent": "¢", "pounds": "£", "euro": "€"},
}
_NAME = re.compile(r"\\([A-Za-z]+)(?![A-Za-z])[ ]?")
_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|bb)|mbox|emph|operatorname|bm"
    r"|boldsymbol|underline)[ ]?\{([^{}]{0,2000})\}"
)
_DEEPEST_TEXT = 4
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\[,;:! ]|~)(?=\d{3}(?!\d))")
_FRACTION = re.compile(
    r"\\[dtc]?frac[ ]?(?:\{([^{}]{0,200})\}|(\d))[ ]?(?:\{([^{}]{0,200})\}|(\d))"
)
_SIMPLE = re.compile(r"-?[\d.,]+")
_DEGREES = re.compile(r"\^[ ]?\{?[ ]?\\circ[ ]?\}?")
_SPACING = re.compile(r"\\[,;:! ]|\\\\|\\[()\[\]]|~")
_ESCAPED = re.compile(r"\\([$%#&_{}])")
_MATH = re.compile(r"\$\$?(?![\s$])([^$\n]{1,300}?)(?<![\s$])\$\$?(?!\d)")
_FACTORIAL = re.compile(r"(?<=[\d)])!")
_ONE_CHARACTER_FRACTION = re.compile(rf"[ ]?([{_VULGAR}])")
_RAISED = re.compile(r"(?<=10)[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+")
_BOLD = re.compile(r"(?<!\d)\*\*|\*\*(?!\d)|(?<!\w)__|__(?!\w)|`")
_POWER_OF_TEN = re.compile(
    r"(?<=\d)[ ]?[×xX*·][ ]?10[ ]?(?:\^|\*\*)[ ]?(?:\{[ ]?([-+]?\d{1,4})[ ]?\}|([-+]?\d{1,4}))"
)
_TEN_ALONE = re.compile(r"(?<![\w.,^*×/+\-])10\^(?:\{(\d{1,3})\}|(\d{1,3}))(?![\d.])")
_BLANKS = re.compile(r"[^\S\n]{2,}")
# A remark right behind a number, `12(see page 3)`; `5(x+1)` and `5(sin x)` are products.
_REMARK = re.compile(
    r"(?<=\d)\((?!(?:a?(?:sin|cos|tan)h?|cot|sec|csc|log|ln|exp|sqrt|mod|max|min|lim|arc[a-z]{3})\b)"
    r"(?=[^\W\d_]{4,}[ .:,)]|[^\W\d_]{2,}[.:,]?[ ][^()\n]{0,80}?[^\W\d_]{2})"
)
# Scripts that put no space between a word and a number: Thai to Khmer, kana, Han, Hangul.
_UNSPACED = re.compile(
    r"(?<=[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])(?=\d)"
)
_UNDERSCORE = re.compile(r"(?<=\d)_(?=\d)")
_CHARACTERS = str.maketrans(
    {
        **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
        **dict.fromkeys("\u2212\u2013\u2010\u2011\ufe63", "-"),
        **dict.fromkeys("\u00a0\u2007\u2009\u202f\u3000\t\r", " "),
        **dict.fromkeys("\u200b\u200c\u200d\ufeff", None),
        **{"\u2019": "'", "\u2044": "/", "\u2215": "/", "\u2032": "'", "\u2033": '"'},
        **{"。": ". ", "、": ", ", "\u22c5": "·", "\u00b5": "\u03bc"},
    }
)


def plain(text: str, *, math: bool = False) -> str:
    """Returns a text without LaTeX and markup: `3/4` for `\\frac{3}{4}`, `1,080` for `1{,}080`.

    Fractions are written with a slash, powers of ten as exponents (`2e3`), commands by their
    character where there is one. Other commands stay.

    Args:
        math: Whether all of it is mathematics, so that an exclamation mark is a factorial.
    """
    text = text.translate(_CHARACTERS)
    if not text.isascii():
        text = re.sub(r"[^\x00-\x7f]", _ascii_digit, text)
        text = _UNSPACED.sub(" ", text)
        text = _ONE_CHARACTER_FRACTION.sub(_spell_fraction, text)
        text = _RAISED.sub(lambda m: "^" + unicodedata.normalize("NFKC", m[0]), text)
        text = text.replace("\u2212", "-")
    if "\\" in text or "~" in text or "{" in text:
        text = _without_latex(text)
    if "$" in text:
        text = _MATH.sub(lambda m: _FACTORIAL.sub(FACTORIAL, m[1]), text)
    if math:
        text = _FACTORIAL.sub(FACTORIAL, text)
    text = _UNDERSCORE.sub("", _BOLD.sub("", text))
    if "10" in text:
        text = _TEN_ALONE.sub(r"1e\1\2", _POWER_OF_TEN.sub(r"e\1\2", text))
    return _BLANKS.sub(" ", _REMARK.sub(" (", text))


def _without_latex(text: str) -> str:
    text = _THOUSANDS.sub(",", text).replace("{,}", ",")
    for _ in range(_DEEPEST_TEXT):
        text, changed = _TEXT.subn(r" \1", text)
        if not changed:
            break
    text = _SPACING.sub(" ", _DEGREES.sub("°", _FRACTION.sub(_slash, text)))
    # Currency must not be taken for the beginning of a formula.
    text = re.sub(r"\\\$", "\u0001", text)
    text = _ESCAPED.sub(r"\1", _NAME.sub(_spell, text))
    return _MATH.sub(r"\1", text).replace("\u0001", "$")


def _slash(found: re.Match[str]) -> str:
    over, under = found[1] or found[2] or "", found[3] or found[4] or ""
    # A digit before it is the whole part of a mixed number.
    space = " " if found.string[found.start() - 1 : found.start()].isdigit() else ""
    if _SIMPLE.fullmatch(over.strip()) and _SIMPLE.fullmatch(under.strip()):
        over, under = over.strip(), under.strip()
        if under.startswith("-"):
            over, under = over[1:] if over.startswith("-") else f"-{over}", under[1:]
        return f"{space}{over}/{under}"
    return f"{space}({over})/({under})"


def _spell(found: re.Match[str]) -> str:
    return _NAMES.get(found[1], found[0])


def _ascii_digit(found: re.Match[str]) -> str:
    digit = unicodedata.decimal(found[0], None)
    return found[0] if digit is None else str(digit)


def _spell_fraction(found: re.Match[str]) -> str:
    return " " + unicodedata.normalize("NFKC", found[1]).replace("\u2044", "/")

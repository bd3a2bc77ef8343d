"""Texts that callers give: which can be stored, which fit one line, and which known word was meant."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from heapq import nlargest
from itertools import islice

JOINERS = "\u200c\u200d"
"""Zero width non-joiner and joiner: Persian and Indic words need them, and emoji made of several."""
IDEOGRAPHIC_SPACE = "\u3000"
LONGEST_SUGGESTED = 100
"""Characters: comparing longer words takes long, and nobody misspells them."""
MOST_COMPARED = 2000
"""Known words that one is compared with."""
LIKENESS = 0.6
"""Of a word that was perhaps meant: ``difflib``'s ratio."""
LONGEST_QUOTED = 200
"""Characters of what a caller gave that a message repeats."""


def is_storable(text: str) -> bool:
    """Whether every database can hold a text: no NUL (Postgres), no lone surrogate (not UTF-8)."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def is_visible(character: str) -> bool:
    """Whether a character can be shown within a line as it is: printable, a joiner, or an ideographic space."""
    return character.isprintable() or character in JOINERS or character == IDEOGRAPHIC_SPACE


def is_line(text: str) -> bool:
    """Whether a text can be a name: visible characters alone, and joiners only where a script uses them.

    A joiner follows a virama, or stands between two characters of which at least one is not ASCII. So no two names
    of ASCII letters look alike.
    """
    if text.isprintable():  # which joiners are not
        return True
    return all(map(is_visible, text)) and all(_joins(text, i) for i, one in enumerate(text) if one in JOINERS)


def _joins(text: str, at: int) -> bool:
    before, after = text[:at][-1:], text[at + 1 : at + 2]
    if after and after in JOINERS:
        return False
    if before and unicodedata.combining(before) == unicodedata.combining("\u094d"):  # a virama: words may end here
        return True
    both = before.strip() and after.strip()
    return bool(both) and before not in JOINERS and not (before + after).isascii()


def nearest(given: str, known: Iterable[str], hint: str) -> str:
    """A hint, behind the known word that most resembles what was given, if one does."""
    near = suggestion(given, known)
    return hint if near is None else f"{near} {hint}"


def suggestion(given: str, known: Iterable[str], otherwise: str | None = None, *, most: int = 1) -> str | None:
    """``did you mean …?`` with the known words that most resemble what was given, else ``otherwise``.

    Of many known words, the first ``MOST_COMPARED`` are looked at.
    """
    if len(given) > LONGEST_SUGGESTED:
        return otherwise
    spelled = {word.casefold(): word for word in sorted(islice(known, MOST_COMPARED))}
    near = _closest(given.casefold(), spelled, most)
    return f"did you mean {', '.join(quoted(spelled[word], plain=True) for word in near)}?" if near else otherwise


def _closest(given: str, words: Iterable[str], most: int) -> list[str]:
    """As ``difflib.get_close_matches``, but of many words that could be close, the ratio of the likeliest is taken.

    A ratio takes time with the product of the lengths, its upper bounds only with their sum.
    """
    from difflib import SequenceMatcher

    matcher = SequenceMatcher()
    matcher.set_seq2(given)
    likely = []
    for word in words:
        matcher.set_seq1(word)
        if matcher.real_quick_ratio() >= LIKENESS:
            bound = matcher.quick_ratio()
            if bound >= LIKENESS:
                likely.append((bound, word))
    found = []
    for _, word in nlargest(10 * most, likely):
        matcher.set_seq1(word)
        ratio = matcher.ratio()
        if ratio >= LIKENESS:
            found.append((ratio, word))
    return [word for _, word in nlargest(most, found)]


def quoted(value: object, most: int = LONGEST_QUOTED, *, plain: bool = False) -> str:
    """What a caller gave, as Python writes it and cut short; ``plain``: a text as it is.

    A long text is cut before it is written: that of megabytes would take as many.
    """
    cut = value[: most + 1] if isinstance(value, (str, bytes)) else value
    try:
        said = str(cut) if plain else repr(cut)
    except (ValueError, RecursionError):  # a whole number of too many digits, a list in itself
        said = f"a {type(value).__name__}"
    return said if len(said) <= most else f"{said[:most]}…"

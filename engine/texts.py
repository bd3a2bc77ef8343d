"""Texts that callers give: which can be stored, which fit one line, and which known word was meant."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

JOINERS = "\u200c\u200d"
"""Zero width non-joiner and joiner: Persian and Indic words need them, and emoji made of several."""
IDEOGRAPHIC_SPACE = "\u3000"
LONGEST_SUGGESTED = 100
"""Characters: comparing longer words takes long, and nobody misspells them."""


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
    """``did you mean …?`` with the known words that most resemble what was given, else ``otherwise``."""
    from difflib import get_close_matches

    if len(given) > LONGEST_SUGGESTED:
        return otherwise
    spelled = {word.casefold(): word for word in sorted(known)}
    near = get_close_matches(given.casefold(), spelled, n=most)
    return f"did you mean {', '.join(spelled[word] for word in near)}?" if near else otherwise

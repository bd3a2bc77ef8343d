"""Which texts can be stored, which can be names, and which known word was meant."""

from __future__ import annotations

import pytest

from engine.cli.output import printable
from engine.cli.table import cell_width
from engine.encoders.external import external_identity
from engine.errors import EngineError, InvalidInput
from engine.storage.details import checked_details, checked_name
from engine.texts import is_line, is_storable, suggestion

REAL = [
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",  # a family: emoji joined
    "\u2764\ufe0f\u200d\U0001f525",  # a heart on fire
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian, with a non-joiner
    "PDF\u200c\u0647\u0627",  # a Persian ending on a Latin word
    "\u0915\u094d\u200d\u0937",  # Devanagari: a half form
    "\u0d05\u0d35\u0d28\u0d4d\u200d",  # Malayalam: a word that ends in virama and joiner
    "\u8d64\u3000\u9ce5",  # an ideographic space
]
REFUSED = [
    "fo\u200dx", "fox\u200d", "\u200dfox", "\u9ce5\u200d\u200d\u9ce5", "\u9ce5\u200d", "\u9ce5\u200c \u9ce5", "a\u3000",
    "\u3000a", "a\u202eb", "a\u200bb", "a\u200eb", "a\nb", "a\u2028b", "a\x00b", "a\x1b[31m", "a\ud800", "\udce9",
    "a\xadb", "\u200d", "", " ",
]  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_names_may_be_of_any_script(name: str) -> None:
    assert is_line(name)
    assert checked_name(name) == name
    assert checked_details({"tags": [name]}) == {"tags": (name,)}
    assert external_identity(f"external:{name}", 2).name == f"external:{name}"
    assert printable(name) == name


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_seen_is_no_name(name: str) -> None:
    with pytest.raises(InvalidInput):
        checked_name(name)
    if name.strip() == name:  # a tag's ends are stripped
        with pytest.raises(InvalidInput):
            checked_details({"tags": [name]})


def test_names_stay_distinct_in_listings() -> None:
    assert printable("\u8d64\u3000\u9ce5") != printable("\u8d64 \u9ce5")
    assert printable(" a\n\t b\x1b\u202e ") == "a b\ufffd\ufffd"
    assert cell_width("\u0645\u06cc\u200c\u062e") == 3
    assert cell_width("\u8d64\u3000") == 4


@pytest.mark.parametrize(("text", "held"), [("", True), ("é\U0001f98a", True), ("\0", False), ("\ud800", False)])
def test_storable_texts(text: str, held: bool) -> None:
    assert is_storable(text) is held


@pytest.mark.parametrize("value", ["a\0b", ["\0"], {"\0": 1}, {"a": [{"b": "\\\0"}]}, "\ud800", {"\udce9": 1}])
def test_metadata_is_of_texts_that_can_be_stored(value: object) -> None:
    with pytest.raises(InvalidInput):
        checked_details({"metadata": {"key": value}})


@pytest.mark.parametrize("value", ["\\u0000", "\\\\u0000", "\U0001f98a", "\x01"])
def test_metadata_keeps_what_looks_like_an_escape(value: str) -> None:
    assert checked_details({"metadata": {"key": value}}) == {"metadata": {"key": value}}


def test_errors_are_printable_whatever_they_quote() -> None:
    error = EngineError("caf\udce9 \ud800", hint="\udcff")
    assert (error.message, error.hint, str(error)) == ("caf\\udce9 \\ud800", "\\udcff", "caf\\udce9 \\ud800")


def test_the_nearest_word_is_suggested() -> None:
    assert suggestion("anmal", ["animal", "small"]) == "did you mean animal?"
    assert suggestion("ANIMALS", ["Animal"]) == "did you mean Animal?"
    assert suggestion("red fix", ["red fox", "red fig"], most=3) == "did you mean red fox, red fig?"
    assert suggestion("zzz", ["animal"], "engine list") == "engine list"
    assert suggestion("a" * 100_000, ["a" * 100_000]) is None

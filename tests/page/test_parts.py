"""What the page is made of, without a browser: addresses, kept pictures, mosaics, cards, and who may send what."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from engine import Engine
from engine.errors import DiskFull, InvalidImage, InvalidQuery
from engine.filters import Filter, where_to_filters
from engine.records import Thumbnail
from engine.server import create_app
from engine.server.page.cards import scores_to_widths
from engine.server.page.mosaics import MARK, SIDE, Mosaics, thumbnails_to_mosaic
from engine.server.page.pictures import Pictures
from engine.server.page.query_url import Asked, pairs_to_asked, to_chip, typed_to_words
from engine.server.page.render import web_address
from engine.texts import is_storable
from tests.server.conftest import COLOURS, picture, to_bytes


@pytest.mark.parametrize(
    ("typed", "words", "where"),
    [
        ("a bird", "a bird", None),
        ("  a   bird ", "a bird", None),
        ("a bird tag:animal", "a bird", [("tag", "animal")]),
        ("tag:animal tag:plant", "", [("tag", "animal"), ("tag", "plant")]),
        ("tag:animal,plant", "", [("tag", "animal,plant")]),
        ('title:"red bird" author~:Ada', "", [("title", "red bird"), ("author~", "Ada")]),
        ("bird -tag:emoji !kind:gan", "bird", [("-tag", "emoji"), ("!kind", "gan")]),
        ("TAG:x license!:MIT", "", [("TAG", "x"), ("license!", "MIT")]),
        ("meta.trained-on:x tags:y", "", [("meta.trained-on", "x"), ("tags", "y")]),
        (r'tag:"say \"hi\"" tag:a\,b', "", [("tag", 'say "hi"'), ("tag", r"a\,b")]),
        ('"tag:animal is a word"', '"tag:animal is a word"', None),
        ("\u9ce5\u3000tag:\u8d64", "\u9ce5", [("tag", "\u8d64")]),
        ("style: anime, time 12:30", "style: anime, time 12:30", None),
        ("ratio 3:4 http://x", "ratio 3:4 http://x", None),
        ("tag: title:", "tag: title:", None),
        ('tag:"" bird', "bird", None),
    ],
)
def test_words_are_read(typed: str, words: str, where: object) -> None:
    found, chips = typed_to_words(typed)
    assert found == words
    assert Asked(found, chips).where == where


@given(st.text(min_size=1).filter(lambda value: value == value.strip() and is_storable(value)))
@example('a "b", c\\')
@example('"')
@example("\u8d64\u3000\u9ce5")
def test_a_link_asks_for_one_value(value: str) -> None:
    _, chips = typed_to_words(to_chip("tag", value).typed)
    assert where_to_filters(Asked("", chips).where) == (Filter("tag", (value,)),)


PART = st.none() | st.text("0123456789abcdef", min_size=32, max_size=32)


@given(
    st.text(max_size=40), PART, PART, st.none() | st.text(min_size=1, max_size=20), st.sampled_from([0.25, 1.0, 3.0])
)
def test_an_address_says_what_was_asked(
    typed: str, image: str | None, sketch: str | None, model: str | None, weight: float
) -> None:
    words, chips = typed_to_words(typed)
    model = None if model is None or not model.strip() else model.strip()
    asked = Asked(words, chips, image, sketch, model)
    asked = Asked(words, chips, image, sketch, model, dict.fromkeys(asked.parts[:1], weight))
    again = pairs_to_asked(parse_qsl(urlsplit(asked.url()).query))
    assert again.url() == asked.url()
    assert (again.words, again.image, again.sketch, again.model) == (words, image, sketch, model)
    for part in asked.parts:
        assert part not in asked.without(part).parts


@pytest.mark.parametrize(
    "pairs",
    [
        [("image", "../../etc/passwd")], [("sketch", "x")], [("q", "a"), ("w.text", "-1")],
        [("q", "a"), ("w.text", "nan")],
        [("n", "0")], [("n", "1e9")], [("n", "²")], [("n", "9" * 5000)],
    ],
)  # fmt: skip
def test_addresses_that_say_nothing(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidQuery):
        pairs_to_asked(pairs)


# --- kept pictures


def test_pictures_are_kept_once_and_the_oldest_forgotten(tmp_path: Path) -> None:
    noise = [
        to_bytes(Image.fromarray(np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8))) for i in range(6)
    ]
    one = len(
        Pictures(tmp_path / "a", max_pixels=10**6).read(Pictures(tmp_path / "a", max_pixels=10**6).keep(noise[0]))
    )
    kept = Pictures(tmp_path / "b", max_pixels=10**6, most=4 * one)
    names = []
    for age, data in enumerate(noise):
        names.append(kept.keep(data))
        assert kept.keep(data) == names[-1]
        os.utime(tmp_path / "b" / names[-1], (age, age))
    assert kept.read(names[-1])
    with pytest.raises(InvalidQuery, match="no longer kept"):
        kept.read(names[0])
    assert sum(path.stat().st_size for path in (tmp_path / "b").iterdir()) <= 4 * one


def test_no_memory_for_a_picture_is_said_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def thumbnail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "thumbnail", thumbnail)
    with pytest.raises(InvalidImage, match="not enough memory"):
        Pictures(tmp_path, max_pixels=10**6).keep(to_bytes(picture(COLOURS["reds"], 0)))


def test_a_damaged_or_foreign_picture_is_none(tmp_path: Path) -> None:
    kept = Pictures(tmp_path, max_pixels=10**6)
    name = kept.keep(to_bytes(picture(COLOURS["reds"], 0)))
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InvalidQuery):
        kept.read(name)
    for data in (b"", b"<svg/>", to_bytes(picture(COLOURS["reds"], 0))[:80]):
        with pytest.raises(InvalidImage):
            kept.keep(data)
    with pytest.raises(InvalidImage):
        Pictures(tmp_path, max_pixels=100).keep(to_bytes(picture(COLOURS["reds"], 0)))


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Pictures(tmp_path, max_pixels=10**6)

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DiskFull):
        kept.keep(to_bytes(picture(COLOURS["reds"], 0)))
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


# --- mosaics and cards


@pytest.mark.parametrize(("count", "across"), [(1, 1), (3, 1), (4, 2), (8, 2), (9, 3)])
def test_a_mosaic_is_of_whole_rows(count: int, across: int) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (count, 3))
    thumbnails = [Thumbnail(to_bytes(Image.new("RGB", (32, 20), tuple(map(int, c)))), "image/png") for c in colours]
    made = Image.open(io.BytesIO(thumbnails_to_mosaic(thumbnails, 9))).convert("RGB")
    assert made.size == (SIDE, SIDE)
    cell = SIDE // across
    for place in range(across * across):
        middle = (place % across * cell + cell // 2, place // across * cell + cell // 2)
        assert np.abs(np.array(made.getpixel(middle)) - colours[place]).max() < 12


def test_damaged_previews_are_left_out_of_mosaics() -> None:
    good = Thumbnail(to_bytes(picture(COLOURS["reds"], 0)), "image/png")
    assert thumbnails_to_mosaic([Thumbnail(b"nonsense", "image/png")], 9) == b""
    assert thumbnails_to_mosaic([], 9) == b""
    mark = thumbnails_to_mosaic([Thumbnail(b"nonsense", "image/png"), good], 2)
    assert Image.open(io.BytesIO(mark)).size == (SIDE, SIDE)
    assert Image.open(io.BytesIO(thumbnails_to_mosaic([good], 1))).size == (MARK, MARK)


def test_mosaics_are_made_once_a_version() -> None:
    asked: list[int] = []

    def thumbnails(model_id: int) -> list[Thumbnail]:
        asked.append(model_id)
        return [Thumbnail(to_bytes(picture(COLOURS["reds"], 0)), "image/png")]

    mosaics = Mosaics(thumbnails)
    assert mosaics.get(1, "a", 9) == mosaics.get(1, "a", 9)
    mosaics.get(1, "b", 9)
    assert asked == [1, 1]


def test_bars() -> None:
    assert scores_to_widths([], falling=False) == []
    assert scores_to_widths([3.0], falling=False) == [1.0]
    assert scores_to_widths([3.0, 2.0, 1.0], falling=False) == pytest.approx([1.0, 0.52, 0.04])
    assert scores_to_widths([0.1, 0.2], falling=True) == pytest.approx([1.0, 0.04])


@pytest.mark.parametrize(
    "text", ["javascript:alert(1)", "data:text/html,x", "//x", "x", "http://[", "JAVASCRIPT:x", ""]
)
def test_addresses_that_are_no_links(text: str) -> None:
    assert web_address(text) is None


# --- what browsers are made to send


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with Engine.open(f"sqlite:///{tmp_path / 'zoo.db'}", create=True, encoder="external:mine") as engine:
        yield TestClient(create_app(engine, with_keys=False, hosts=frozenset({"localhost", "[::1]"})))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "localhost"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "localhost.evil.example:8000"}, 403),
        ({"host": "localhost", "origin": "http://evil.example"}, 200),  # only reads, and cannot see the answer
    ],
)
def test_only_known_hosts_are_answered(client: TestClient, headers: dict[str, str], status: int) -> None:
    assert client.get("/v1/models", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"origin": "http://localhost:8000"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "http://localhost:8000"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "http://localhost:8000"}, False),
        ({"sec-fetch-site": "same-site"}, False),
    ],
)
def test_other_sites_pages_change_nothing(client: TestClient, headers: dict[str, str], allowed: bool) -> None:
    answer = client.delete("/v1/models/x", headers={"host": "localhost:8000", **headers})
    assert answer.status_code == (404 if allowed else 403)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_long_query_is_not_repeated(client: TestClient) -> None:
    for query in ("q={}", "model={}", "method={}", "w.text={}", "n={}", "image={}"):
        answer = client.get(f"/?{query.format('9' * 20_000)}", headers={"host": "localhost"})
        assert answer.status_code == 422
        assert len(answer.content) < 10_000

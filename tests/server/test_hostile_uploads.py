"""Uploaded pictures of every odd kind: each is decoded, or refused in one shape; none is a fault of the server."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from engine import Engine
from engine.server import create_app
from tests.server.conftest import COLOURS, picture, to_bytes
from tests.server.test_search_requests import refusal

GOOD = to_bytes(picture(COLOURS["blues"], 1))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def palette() -> bytes:
    return saved(picture(COLOURS["blues"], 1).quantize(8), "PNG", transparency=0)


def animated() -> bytes:
    frames = [picture(COLOURS["blues"], i) for i in range(3)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(picture(COLOURS["blues"], 1), "JPEG", exif=exif)


def bomb() -> bytes:
    """A PNG that says it has ten thousand million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )


DECODED: dict[str, Callable[[], bytes]] = {
    "CMYK": lambda: saved(picture(COLOURS["blues"], 1).convert("CMYK"), "JPEG"),
    "16 bits": lambda: saved(Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64) * 15), "PNG"),
    "palette and alpha": palette,
    "animated": animated,
    "turned by EXIF": turned,
    "one pixel": lambda: saved(Image.new("RGB", (1, 1), "blue"), "PNG"),
    "a wrong ending": lambda: saved(picture(COLOURS["blues"], 1), "WEBP"),
}
REFUSED: dict[str, Callable[[], bytes]] = {
    "truncated": lambda: GOOD[: len(GOOD) // 2],
    "empty": lambda: b"",
    "a text": lambda: b"this is no picture" * 100,
    "a bomb": bomb,
    "SVG": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
    "a pickle": lambda: b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "PNG and nothing": lambda: b"\x89PNG\r\n\x1a\n",
}
NAMES = ("x.png", "../../x.png", "x\r\ny.png", "é" * 300)


def search(client: TestClient, data: bytes, name: str = "x.png", part: str = "image") -> Any:
    return client.post("/v1/search", files={part: (name, data)}, data={"query": '{"k": 2}'})


@pytest.mark.parametrize("part", ["image", "sketch"])
@pytest.mark.parametrize("kind", DECODED)
def test_odd_pictures_are_decoded(client: TestClient, kind: str, part: str) -> None:
    answer = search(client, DECODED[kind](), part=part)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["hits"]) == 2


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_picture_is_refused(client: TestClient, kind: str) -> None:
    said = refusal(search(client, REFUSED[kind]()), 422)
    assert said["title"] == "InvalidImage"


@pytest.mark.parametrize("name", NAMES)
def test_names_do_not_matter(client: TestClient, name: str) -> None:
    assert search(client, GOOD, name).status_code == 200


@pytest.mark.parametrize("kind", [*DECODED, *REFUSED])
def test_the_page_takes_the_same_pictures(served: Engine, kind: str) -> None:
    client = TestClient(create_app(served, with_keys=False), raise_server_exceptions=False)
    data = (DECODED | REFUSED)[kind]()
    answer = client.post("/pictures", files={"picture": ("x", data)}, headers={"accept": "application/json"})
    assert answer.status_code == (200 if kind in DECODED else 422), answer.text
    if kind in DECODED:
        shown = client.get(f"/?image={answer.json()['name']}")
        assert shown.status_code == 200
        assert "Your image" in shown.text
    else:
        assert answer.json()["detail"]

"""Eight pictures of 64 megapixels at once: a real server decodes them within bounded memory, and answers all."""

from __future__ import annotations

import io
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from engine import Engine
from engine.encoders.compact_prepare import prepare
from engine.samples import any_to_image, one_picture, room
from tests.server.conftest import COLOURS, ingest, picture, to_bytes
from tests.server.test_serving import serving

SIDE = 8000
AT_ONCE = 8
ADDRESS_SPACE = 8_000_000 * 1024
GROWTH, KEPT = 1.1e9, 0.3e9
"""Bytes that the server may take beyond what it has at the start, at its peak and afterwards. It took 5.1e9."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def resident(pid: int, what: str = "VmHWM") -> int:
    """Bytes; of ``VmHWM`` the most there ever were."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


def sixteen_bits(side: int = SIDE) -> bytes:
    """64 megapixels of two greys in some kilobytes."""
    pixels = np.zeros((side, side), np.uint16)
    pixels[::7] = 40_000
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=6)
    return stream.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """Its process and its address."""
    folder = tmp_path_factory.mktemp("pixels")
    url = f"sqlite:///{folder / 'zoo.db'}"
    with Engine.open(url, create=True, encoder="compact") as engine:
        ingest(engine, folder)
    with serving(url) as (process, address):
        resource.prlimit(process.pid, resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        search(address, to_bytes(picture(COLOURS["blues"], 1)))
        yield process.pid, address


def search(address: str, data: bytes) -> list[tuple[str, float]]:
    answer = httpx.post(
        f"{address}/v1/search", files={"image": ("x.png", data)}, data={"query": '{"k": 4}'}, timeout=120
    )
    assert answer.status_code == 200, answer.text
    return [(hit["name"], hit["score"]) for hit in answer.json()["hits"]]


def test_pixels_are_bounded_over_all_requests(server: tuple[int, str]) -> None:
    pid, address = server
    data = sixteen_bits()
    assert len(data) < 2**20
    start = resident(pid, "VmRSS")
    alone = search(address, data)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        began = time.monotonic()
        together = list(pool.map(lambda _: search(address, data), range(AT_ONCE)))
    assert time.monotonic() - began < 110
    for answer in together:
        assert [name for name, _ in answer] == [name for name, _ in alone]
        assert [score for _, score in answer] == pytest.approx([score for _, score in alone], rel=1e-4)
    assert resident(pid) - start < GROWTH
    assert resident(pid, "VmRSS") - start < KEPT
    small = to_bytes(picture(COLOURS["reds"], 2))
    assert search(address, small)[0][0] == "reds"


def test_large_pictures_leave_places_for_others(server: tuple[int, str]) -> None:
    """Twelve large ones wait for each other, and not in all of the server's eight places."""
    _, address = server
    data, small = sixteen_bits(), to_bytes(picture(COLOURS["reds"], 3))
    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(search, address, data) for _ in range(12)]
        time.sleep(1)
        took = []
        while not all(one.done() for one in waiting) and len(took) < 10:
            began = time.monotonic()
            assert search(address, small)[0][0] == "reds"
            took.append(time.monotonic() - began)
        assert took
        assert max(took) < 5
        for one in waiting:
            one.result()


def test_what_is_decoded_does_not_depend_on_who_else_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rooms of a picture each, eight threads."""
    monkeypatch.setattr(room, "_LARGE", room.Room(13 * 2000 * 2000))
    monkeypatch.setattr(room, "SMALL", 0)
    data = sixteen_bits(2000)
    with one_picture():
        alone = prepare(any_to_image(data))

    def work(_: int) -> bool:
        with one_picture():
            return np.array_equal(prepare(any_to_image(data)), alone)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert all(pool.map(work, range(AT_ONCE)))

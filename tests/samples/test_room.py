"""What threads decode at once: how it waits, and what it takes."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from engine.samples import any_to_image, colour, one_picture, room
from engine.samples.room import Room, room_for


def until(condition: object) -> None:
    for _ in range(1000):
        if condition():  # type: ignore[operator]
            return
        time.sleep(0.005)
    raise AssertionError


def test_room_is_given_in_the_order_of_arrival() -> None:
    """A large one is not overtaken for ever by small ones behind it."""
    lent, came = Room(10), []
    first = lent.take(8)

    def work(name: str, size: int) -> None:
        taken = lent.take(size)
        came.append(name)
        lent.give_back(taken)

    threads = []
    for name, size in (("large", 9), ("small", 1), ("over-large", 99), ("last", 2)):
        threads.append(threading.Thread(target=work, args=(name, size)))
        threads[-1].start()
        until(lambda: len(lent._line) == len(threads))
    assert came == []
    lent.give_back(first)
    for thread in threads:
        thread.join(5)
    assert came == ["large", "small", "over-large", "last"]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    """A room of 1,000 bytes in which every picture counts as large."""
    lent = Room(1000)
    monkeypatch.setattr(room, "_LARGE", lent)
    monkeypatch.setattr(room, "SMALL", 0)
    yield lent
    assert lent._free == 1000


def test_room_is_held_until_the_picture_is_used(large: Room) -> None:
    with room_for(300):
        assert large._free == 700
    assert large._free == 1000
    with one_picture():
        with room_for(300):
            pass
        assert large._free == 700
        with one_picture(), room_for(1000):  # takes the first one's place: no thread waits for itself
            assert large._free == 0
        assert large._free == 0
    assert large._free == 1000
    with pytest.raises(ValueError, match="broken"), one_picture(), room_for(5):
        raise ValueError("broken")


def test_pictures_are_decoded_together_only_as_room_allows(large: Room) -> None:
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")  # 64 pixels of 8 bytes, and the pointers: two do not fit
    most, now, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal most, now
        with one_picture():
            any_to_image(data.getvalue())
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.01)
            with lock:
                now -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == 1


def pictures() -> dict[str, Image.Image]:
    """One of every mode, 23 × 37 pixels."""
    rng = np.random.default_rng(0)
    rgba = Image.fromarray(rng.integers(0, 256, (37, 23, 4), np.uint8))
    found = {mode: rgba.convert("RGB").convert(mode) for mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV")}
    found |= {"RGBA": rgba, "LA": rgba.convert("LA"), "PA": rgba.convert("PA"), "RGBa": rgba.convert("RGBa")}
    found["I;16"] = Image.fromarray(rng.integers(0, 65536, (37, 23), np.uint16))
    found["I"] = Image.fromarray(rng.integers(0, 65536, (37, 23), np.int32))
    found["F"] = Image.fromarray(rng.random((37, 23), np.float32))
    for mode, colours in (("P", 3), ("L", 3), ("I;16", 300), ("RGB", (3, 4, 5))):
        found[f"{mode} transparent"] = found[mode].copy()
        found[f"{mode} transparent"].info["transparency"] = colours
    return found


@pytest.mark.parametrize("tile", [1, 7, 23, 60, 400])
def test_tiles_make_up_the_whole(monkeypatch: pytest.MonkeyPatch, tile: int) -> None:
    for name, image in pictures().items():
        for turn in range(1, 9) if name in ("RGB", "I;16") else [1]:
            image.getexif()[colour.ORIENTATION] = turn
            monkeypatch.setattr(colour, "TILE", 10**6)
            whole = colour.image_to_rgb(image)
            monkeypatch.setattr(colour, "TILE", tile)
            tiled = colour.image_to_rgb(image)
            assert tiled.size == whole.size
            assert tiled.tobytes() == whole.tobytes(), (name, turn)

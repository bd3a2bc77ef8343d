"""Damage beside the pixels costs no picture, damage to them is refused with its reason, and bombs stay harmless."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engine.errors import InvalidImage
from engine.samples import bytes_to_image
from engine.samples.decode import max_bytes
from engine.samples.salvage import without_metadata

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
EXIF = Image.Exif()
EXIF[0x0112] = 6  # turned by a quarter


def saved(form: str, array: NDArray[np.uint8] = PIXELS, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, form, **options)
    return stream.getvalue()


def chunk(kind: bytes, body: bytes, *, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def png_with(extra: bytes, *, behind: bool = False, **options: object) -> bytes:
    """With more chunks ahead of its pixels, or behind them."""
    data = saved("PNG", **options)
    place = len(data) - 12 if behind else 33
    return data[:place] + extra + data[place:]


def jpeg_with(extra: bytes, **options: object) -> bytes:
    data = saved("JPEG", **options)
    return data[:2] + extra + data[2:]


LONG = zlib.compress(bytes(2**21))
CHUNKS = {
    "short pHYs": chunk(b"pHYs", b"\0\0"),
    "short cHRM": chunk(b"cHRM", b"\0"),
    "short gAMA": chunk(b"gAMA", b""),
    "empty sRGB": chunk(b"sRGB", b""),
    "short tRNS": chunk(b"tRNS", b"\0"),
    "wrong checksum": chunk(b"tEXt", b"Comment\0hello", crc=1),
    "wrong checksum of transparency": chunk(b"tRNS", bytes(6), crc=1),
    "unknown compression": chunk(b"zTXt", b"Comment\0\x09abc"),
    "profile of unknown compression": chunk(b"iCCP", b"icc\0\x09abc"),
    "profile beyond 1 MiB": chunk(b"iCCP", b"icc\0\0" + LONG),
    "text beyond 1 MiB": chunk(b"zTXt", b"Comment\0\0" + LONG),
    "international text beyond 1 MiB": chunk(b"iTXt", b"Comment\0\x01\0\0\0" + LONG),
    "texts beyond 64 MiB": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**20 - 1))) * 65,
    "animation of no frames": chunk(b"acTL", bytes(8)),
}
SEGMENTS = {
    "short Adobe": segment(0xEE, b"Adobe"),
    "short JFIF": segment(0xE0, b"JFIF\0"),
    "pictures of none": segment(0xE2, b"MPF\0"),
    "pictures out of the file": segment(0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
    "torn EXIF": segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "a flood of profiles": segment(0xE2, b"ICC_PROFILE\0\x01\x28" + bytes(65_000)) * 40,
    "a flood of comments": segment(0xFE, bytes(65_000)) * 40,
}


@pytest.mark.parametrize("behind", [False, True], ids=["ahead", "behind"])
@pytest.mark.parametrize("name", CHUNKS)
def test_a_bad_chunk_costs_no_png(name: str, behind: bool) -> None:
    assert np.array_equal(np.asarray(bytes_to_image(png_with(CHUNKS[name], behind=behind))), PIXELS)


@pytest.mark.parametrize("name", SEGMENTS)
def test_a_bad_segment_costs_no_jpeg(name: str) -> None:
    wanted = np.asarray(bytes_to_image(saved("JPEG")))
    assert np.array_equal(np.asarray(bytes_to_image(jpeg_with(SEGMENTS[name]))), wanted)


def test_a_picture_keeps_its_rotation_beside_damage() -> None:
    for data in (png_with(CHUNKS["short pHYs"], exif=EXIF), jpeg_with(SEGMENTS["short Adobe"], exif=EXIF)):
        assert bytes_to_image(data).size == (12, 20)


def test_transparency_survives_damage_beside_it() -> None:
    key = tuple(int(value) for value in PIXELS[0, 0])
    decoded = bytes_to_image(png_with(CHUNKS["short pHYs"], transparency=key))
    assert decoded.getpixel((0, 0)) == (255, 255, 255)


def test_a_palette_survives_damage_beside_it() -> None:
    image = Image.fromarray(PIXELS).quantize(16)
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=3)
    data = stream.getvalue()
    damaged = data[:33] + CHUNKS["short gAMA"] + data[33:]
    assert bytes_to_image(damaged).tobytes() == bytes_to_image(data).tobytes()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_torn_picture_is_not_called_another_format(form: str) -> None:
    whole = saved(form)
    for share in (0.1, 0.3, 0.6):
        with pytest.raises(InvalidImage) as caught:
            bytes_to_image(whole[: int(len(whole) * share)], label="fox")
        assert f"fox cannot be decoded as {form}: " in caught.value.message


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (saved("PNG")[:29] + b"\0\0\0\0" + saved("PNG")[33:], "checksum in b'IHDR'"),
        (png_with(CHUNKS["short pHYs"])[:-40], "truncated"),
        (jpeg_with(SEGMENTS["short Adobe"])[:300], "Truncated"),
        (jpeg_with(SEGMENTS["short Adobe"])[:-200], "truncated"),
    ],
)
def test_damage_to_the_pixels_is_what_is_told(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidImage, match=f"cannot be decoded as (PNG|JPEG): .*{reason}"):
        bytes_to_image(data)


def test_nothing_is_missed_behind_the_last_pixel() -> None:
    """Pillow reads a PNG without its end; so it does beside damage."""
    assert np.array_equal(np.asarray(bytes_to_image(png_with(CHUNKS["short pHYs"])[:-14])), PIXELS)


def test_a_copy_is_no_larger_than_such_a_picture() -> None:
    """A header of 20 × 12 pixels, and megabytes that call themselves its pixels."""
    png = png_with(chunk(b"IDAT", bytes(2**21)) + CHUNKS["short pHYs"])
    jpeg = jpeg_with(SEGMENTS["short Adobe"]) + bytes(2**21)
    for form, data in (("PNG", png), ("JPEG", jpeg)):
        assert list(without_metadata(io.BytesIO(data), form, max_bytes)) == []


def test_no_copy_where_there_is_nothing_to_leave_out() -> None:
    assert list(without_metadata(io.BytesIO(saved("PNG")), "PNG", max_bytes)) == []
    assert list(without_metadata(io.BytesIO(saved("GIF")), "GIF", max_bytes)) == []


def blank(form: str) -> bytes:
    """100 × 100 pixels in a format; GIF's and WebP's readers and TIFF's tiles ask Pillow's limit by themselves."""
    return saved(form, np.zeros((100, 100, 3), np.uint8))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_limit_above_pillows_own_holds(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)  # in place of a picture of 179 million
    assert bytes_to_image(blank(form), max_pixels=10_000).size == (100, 100)
    with pytest.raises(InvalidImage, match="more than the 9999 allowed"):
        bytes_to_image(blank(form), max_pixels=9_999)
    assert Image.MAX_IMAGE_PIXELS == 1_000


def test_pillows_limit_is_left_alone_where_ours_is_lower() -> None:
    before = Image.MAX_IMAGE_PIXELS
    bytes_to_image(blank("PNG"), max_pixels=10_000)
    with pytest.raises(InvalidImage):
        bytes_to_image(b"\x89PNG\r\n\x1a\n", max_pixels=2**40)
    assert before == Image.MAX_IMAGE_PIXELS

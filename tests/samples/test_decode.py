"""Pictures of every layout to RGB, and every bad file to a reason. Expected pixels are worked out by hand."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.errors import InvalidImage
from engine.samples.decode import FORMATS, any_to_image, bytes_to_image, path_to_image


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def noise(height: int = 40, width: int = 30, channels: int = 3) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def pixel(image: Image.Image, place: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    found = image.getpixel(place)
    assert isinstance(found, tuple)
    return found


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "QOI", "JPEG2000", "GIF"])
def test_lossless_formats_give_back_the_pixels(form: str) -> None:
    picture = noise() if form != "GIF" else noise().quantize(16)
    options = {"lossless": True} if form == "WEBP" else {}
    decoded = bytes_to_image(encoded(picture, form, **options))
    assert decoded.mode == "RGB"
    assert np.array_equal(np.asarray(decoded), np.asarray(picture.convert("RGB")))


def test_half_transparent_red_on_white() -> None:
    # 255 * 128/255 + 255 * 127/255 = 255;  0 * 128/255 + 255 * 127/255 = 127
    assert pixel(bytes_to_image(encoded(Image.new("RGBA", (2, 2), (255, 0, 0, 128))))) == (255, 127, 127)


def test_grey_with_alpha_on_white() -> None:
    assert pixel(bytes_to_image(encoded(Image.new("LA", (2, 2), (0, 0))))) == (255, 255, 255)
    assert pixel(bytes_to_image(encoded(Image.new("LA", (2, 2), (40, 255))))) == (40, 40, 40)


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])])
def test_palette_with_transparency_on_white(transparency: int | bytes) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    decoded = bytes_to_image(encoded(picture, transparency=transparency))
    assert [pixel(decoded, (x, 0)) for x in (0, 1)] == [(255, 255, 255), (40, 50, 60)]


def test_colour_key_on_white() -> None:
    picture = Image.new("RGB", (2, 1), (1, 2, 3))
    picture.putpixel((1, 0), (4, 5, 6))
    decoded = bytes_to_image(encoded(picture, transparency=(1, 2, 3)))
    assert [pixel(decoded, (x, 0)) for x in (0, 1)] == [(255, 255, 255), (4, 5, 6)]


def test_palette_without_transparency() -> None:
    picture = Image.new("P", (1, 1))
    picture.putpalette([10, 20, 30])
    assert pixel(bytes_to_image(encoded(picture))) == (10, 20, 30)


def test_one_bit_and_greyscale() -> None:
    assert pixel(bytes_to_image(encoded(Image.new("1", (2, 2), 1)))) == (255, 255, 255)
    assert pixel(bytes_to_image(encoded(Image.new("L", (2, 2), 77)))) == (77, 77, 77)


def test_cmyk() -> None:
    assert pixel(bytes_to_image(encoded(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "TIFF"))) == (255, 0, 0)


@pytest.mark.parametrize(("form", "dtype"), [("PNG", "<u2"), ("TIFF", "<u2"), ("PPM", "<u2")])
def test_sixteen_bits_are_scaled_not_clipped(form: str, dtype: str) -> None:
    wide = np.array([[0, 128, 129, 257, 32768, 65535]], dtype)
    decoded = np.asarray(bytes_to_image(encoded(Image.fromarray(wide), form)))[0, :, 0]
    assert decoded.tolist() == [0, 0, 1, 1, 128, 255]  # v / 257, to nearest


def test_sixteen_bit_big_endian_tiff() -> None:
    # A one-pixel TIFF by hand: MM, IFD with width, length, bits 16, no compression, black is zero, one strip.
    fields = [(256, 1), (257, 1), (258, 16), (259, 1), (262, 1), (273, 8 + 2 + 12 * 8 + 4), (278, 1), (279, 2)]
    body = b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in fields)
    data = b"MM\0*" + struct.pack(">IH", 8, len(fields)) + body + b"\0\0\0\0" + struct.pack(">H", 51400)
    assert pixel(bytes_to_image(data)) == (200, 200, 200)  # 200 * 257


def test_floating_tiff_in_the_unit_range_only() -> None:
    half = Image.fromarray(np.full((2, 2), 0.5, np.float32))
    assert pixel(bytes_to_image(encoded(half, "TIFF"))) == (128, 128, 128)
    with pytest.raises(InvalidImage, match=r"\[0, 1\]"):
        bytes_to_image(encoded(Image.fromarray(np.full((2, 2), 7.0, np.float32)), "TIFF"))


def test_wide_integers_without_a_known_white_are_refused() -> None:
    with pytest.raises(InvalidImage, match="32-bit"):
        bytes_to_image(encoded(Image.fromarray(np.full((2, 2), 10**6, np.int32)), "TIFF"))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotation_from_exif(form: str, orientation: int) -> None:
    # Stored pixels of an upright picture with a white top-left quarter, for each orientation of EXIF 2.32.
    upright = np.zeros((32, 64, 3), np.uint8)
    upright[:16, :32] = 255
    store = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(store(upright)))
    data = encoded(stored, form, exif=exif)
    decoded = np.asarray(bytes_to_image(data)).astype(int)
    assert decoded.shape == upright.shape
    assert np.abs(decoded - upright).mean() < 3
    opened = any_to_image(Image.open(io.BytesIO(data)))
    assert np.array_equal(np.asarray(opened), decoded)


def test_rotation_is_not_applied_twice() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    once = bytes_to_image(encoded(noise(), exif=exif))
    assert np.array_equal(np.asarray(any_to_image(once)), np.asarray(once))


def test_broken_exif_does_not_cost_the_picture() -> None:
    picture = noise()
    data = encoded(picture, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert bytes_to_image(data).size == picture.size


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(form: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert pixel(bytes_to_image(data)) == (255, 0, 0)


def test_mpo_is_a_jpeg_with_more_pictures_behind_it() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    red = pixel(bytes_to_image(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])))
    assert red[0] > 240 > 10 > red[1]


def bomb(side: int) -> bytes:
    """A PNG whose header claims side × side pixels and that holds none."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [1_001, 10_000, 2**31 - 1])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    with pytest.raises(InvalidImage, match="pixels"):
        bytes_to_image(bomb(side), max_pixels=1_000_000)


def test_the_limit_itself_is_allowed() -> None:
    data = encoded(Image.new("RGB", (10, 10)))
    assert bytes_to_image(data, max_pixels=100).size == (10, 10)
    with pytest.raises(InvalidImage) as caught:
        bytes_to_image(data, max_pixels=99)
    assert "ENGINE_MAX_PIXELS" in (caught.value.hint or "")


def test_no_warning_escapes_and_filters_are_left_alone() -> None:
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        large = encoded(Image.new("1", (9_500, 9_500)))  # above Pillow's own warning limit of 89 million
        assert bytes_to_image(large, max_pixels=10**8).size == (9_500, 9_500)
        with pytest.raises(InvalidImage):
            bytes_to_image(b"II*\0\x08\0\0\0\x05\0" + b"\xff" * 50)
    assert not caught
    assert list(warnings.filters) == before


def test_filters_are_left_alone_by_many_threads() -> None:
    before = list(warnings.filters)
    good, bad = encoded(noise()), encoded(noise())[:-200]

    def decode(number: int) -> bool:
        try:
            bytes_to_image(bad if number % 2 else good)
        except InvalidImage:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(decode, range(200))) == 100
    assert list(warnings.filters) == before


def picture_or_reason(data: bytes) -> Image.Image | str:
    try:
        return bytes_to_image(data, max_pixels=10**6)
    except InvalidImage as error:
        return error.message


FILES = {
    "PNG": encoded(noise(200, 150)),
    "JPEG": encoded(noise(200, 150), "JPEG"),
    "GIF": encoded(noise(200, 150).quantize(64), "GIF"),
    "WEBP": encoded(noise(200, 150), "WEBP"),
    "BMP": encoded(noise(200, 150), "BMP"),
    "TIFF": encoded(noise(200, 150), "TIFF"),
    "PPM": encoded(noise(200, 150), "PPM"),
}
WHOLE = {form: np.asarray(bytes_to_image(data)) for form, data in FILES.items()}


@given(st.sampled_from(sorted(FILES)), st.floats(0, 0.999))
def test_a_truncated_file_is_refused_or_whole(form: str, share: float) -> None:
    decoded = picture_or_reason(FILES[form][: int(len(FILES[form]) * share)])
    if isinstance(decoded, Image.Image):  # only what follows the last pixel was cut off
        assert np.array_equal(np.asarray(decoded), WHOLE[form])


@pytest.mark.parametrize("form", sorted(FILES))
def test_half_a_file_is_refused(form: str) -> None:
    with pytest.raises(InvalidImage):
        bytes_to_image(FILES[form][: len(FILES[form]) // 2])


@given(st.sampled_from(sorted(FILES)), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8))
def test_a_corrupted_header_gives_a_picture_or_a_reason(form: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(FILES[form])
    for place, value in changes:
        data[place % len(data)] = value
    decoded = picture_or_reason(bytes(data))
    assert decoded.isprintable() if isinstance(decoded, str) else decoded.mode == "RGB"


@given(st.binary(max_size=200))
def test_any_bytes_give_a_picture_or_a_reason(data: bytes) -> None:
    decoded = picture_or_reason(data)
    assert decoded.isprintable() if isinstance(decoded, str) else decoded.mode == "RGB"


@pytest.mark.parametrize(
    ("data", "reason", "hint"),
    [
        (b"", "empty", None),
        (b"hello", "accepted format", "PNG"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "SVG", "PNG"),
        (b"<svg/>", "SVG", "PNG"),
        (b"%PDF-1.7 ...", "PDF", "PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "PostScript", "PNG"),
    ],
)
def test_what_is_not_a_raster_picture(data: bytes, reason: str, hint: str | None) -> None:
    with pytest.raises(InvalidImage, match=reason) as caught:
        bytes_to_image(data, label="thing")
    assert "thing" in caught.value.message
    assert (caught.value.hint is None) if hint is None else (hint in (caught.value.hint or ""))


def test_no_format_that_starts_a_program() -> None:
    assert not {"EPS", "PDF", "WMF", "FPX", "GRIB", "HDF5"} & set(FORMATS)


def test_wrong_suffix_is_decoded_by_content(tmp_path: Path) -> None:
    (tmp_path / "really-png.jpg").write_bytes(encoded(Image.new("RGB", (2, 2), (1, 2, 3))))
    assert pixel(path_to_image(tmp_path / "really-png.jpg")) == (1, 2, 3)


def test_a_vanished_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidImage, match="no file"):
        path_to_image(tmp_path / "gone.png")


def test_irregular_files_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for path in (tmp_path, tmp_path / "pipe.png", Path("/dev/zero")):
        with pytest.raises(InvalidImage, match="not a regular file"):
            path_to_image(path)
    with pytest.raises(InvalidImage, match="cannot be opened"):
        path_to_image(tmp_path / "loop.png")
    with pytest.raises(InvalidImage, match="cannot be opened"):
        path_to_image("nul\0byte.png")


def test_a_file_larger_than_any_such_picture_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "sparse.png", "wb") as stream:
        stream.write(encoded(Image.new("RGB", (2, 2))))
        stream.truncate(2**31)
    with pytest.raises(InvalidImage, match="larger than"):
        path_to_image(tmp_path / "sparse.png", max_pixels=1000)


# --- arrays


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (3, 5, 3), (3, 5, 4)])
def test_array_shapes(shape: tuple[int, ...]) -> None:
    decoded = any_to_image(np.full(shape, 255, np.uint8))
    assert decoded.size == (5, 3)
    assert pixel(decoded) == (255, 255, 255)


def test_floating_arrays_are_rounded_to_nearest() -> None:
    values = np.array([[0.0, 0.5, 1.0, 254.4 / 255, 254.6 / 255]])
    for dtype in (np.float64, np.float32):
        assert np.asarray(any_to_image(values.astype(dtype)))[0, :, 0].tolist() == [0, 128, 255, 254, 255]


def test_array_alpha_goes_onto_white() -> None:
    assert pixel(any_to_image(np.zeros((2, 2, 4)))) == (255, 255, 255)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 2, 2), np.uint8), "shape"),
        (np.zeros((3, 8, 8), np.uint8), "shape"),
        (np.zeros(4, np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (np.zeros((2, 2, 2, 3), np.uint8), "shape"),
        (np.zeros((2, 2), np.int64), "uint8"),
        (np.zeros((2, 2), bool), "uint8"),
        (np.zeros((2, 2), complex), "uint8"),
        (np.array([["a", "b"]]), "uint8"),
        (np.full((2, 2), np.nan), "NaN"),
        (np.full((2, 2), np.inf), "NaN or an infinity"),
        (np.full((2, 2), 200.0), r"\[0, 1\]"),
        (np.full((2, 2), -1.0), r"\[0, 1\]"),
        (np.zeros((2000, 2000), np.uint8), "more than"),
    ],
)
def test_arrays_that_are_no_pictures(array: np.ndarray[Any, Any], reason: str) -> None:
    with pytest.raises(InvalidImage, match=reason):
        any_to_image(array, max_pixels=10**6)


def test_channels_first_is_explained() -> None:
    with pytest.raises(InvalidImage) as caught:
        any_to_image(np.zeros((3, 8, 8)))
    assert "transpose" in (caught.value.hint or "")


@pytest.mark.parametrize("value", [None, 3, ["a.png"], object()])
def test_what_is_no_picture_at_all(value: Any) -> None:
    with pytest.raises(InvalidImage, match="a picture is a path"):
        any_to_image(value)


def test_every_way_to_give_one_picture_agrees(tmp_path: Path) -> None:
    picture = noise()
    data = encoded(picture)
    (tmp_path / "a.png").write_bytes(data)
    given_as = [tmp_path / "a.png", str(tmp_path / "a.png"), data, bytearray(data), picture, np.asarray(picture)]
    for value in given_as:
        assert np.array_equal(np.asarray(any_to_image(value)), np.asarray(picture))


def test_the_callers_image_is_not_changed() -> None:
    picture = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    any_to_image(picture)
    assert picture.mode == "RGBA"
    plain = Image.new("RGB", (2, 2))
    any_to_image(plain).putpixel((0, 0), (9, 9, 9))
    assert pixel(plain) == (0, 0, 0)


def test_importing_samples_loads_nothing_heavy() -> None:
    heavy = ("torch", "onnxruntime", "diffusers", "transformers", "scipy", "open_clip")
    code = f"import engine.samples, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

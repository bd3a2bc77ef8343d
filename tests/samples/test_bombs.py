"""Small files that would unpack to a great deal: decoded or refused within bounded memory and time."""

from __future__ import annotations

import io
import resource
import struct
import subprocess
import sys
import zlib
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from engine.errors import InvalidImage
from engine.samples import any_to_image

ROOM = 600 * 2**20
"""Bytes of address space that a child may take beyond what it has once it can decode."""
UNPACKED = 2**30
CHILD = """
import resource, sys
from engine.errors import EngineError
from engine.samples import any_to_image
any_to_image(sys.argv[1])  # what decoding needs is loaded by now
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[3]),) * 2)
try:
    print(any_to_image(sys.argv[2]).size)
except EngineError as error:
    print(type(error).__name__, error)
"""


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@cache
def packed(count: int) -> bytes:
    """So many zeros, compressed a thousandfold without ever being there: one block of them over and over."""
    packer = zlib.compressobj(9)
    first = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)  # what follows refers to nothing before
    header, block = first[:2], first[2:]
    adler = struct.pack(">HH", count % 65521, 1)
    return header + block * (count // 2**20) + b"\x03\x00" + adler


def test_what_is_packed_unpacks_to_zeros() -> None:
    assert zlib.decompress(packed(3 * 2**20)) == bytes(3 * 2**20)


def plain() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(stream, "PNG")
    return stream.getvalue()


def with_chunk(kind: bytes, data: bytes) -> bytes:
    """A good PNG with one more chunk behind its header."""
    whole = plain()
    return whole[:33] + chunk(kind, data) + whole[33:]


def many_texts() -> bytes:
    return plain()[:33] + chunk(b"zTXt", b"A\x00\x00" + packed(2**20)) * 512 + plain()[33:]


def pixels() -> bytes:
    """A header that says 8 × 8, and a gigabyte of pixels."""
    return plain()[:33] + chunk(b"IDAT", packed(UNPACKED)) + chunk(b"IEND", b"")


BOMBS = {  # made by the tests alone: packing a gigabyte takes seconds, and collecting tests is not to
    "text": lambda: with_chunk(b"zTXt", b"Comment\x00\x00" + packed(UNPACKED)),
    "international text": lambda: with_chunk(b"iTXt", b"Comment\x00\x01\x00\x00\x00" + packed(UNPACKED)),
    "profile": lambda: with_chunk(b"iCCP", b"icc\x00\x00" + packed(UNPACKED)),
    "many texts": many_texts,
    "pixels": pixels,
}


@pytest.mark.parametrize("name", list(BOMBS))
def test_a_picture_of_a_gigabyte_takes_little_memory(tmp_path: Path, name: str) -> None:
    bomb = BOMBS[name]()
    (tmp_path / "good.png").write_bytes(plain())
    (tmp_path / "bomb.png").write_bytes(bomb)
    assert len(bomb) < 4 * 2**20
    command = [sys.executable, "-c", CHILD, str(tmp_path / "good.png"), str(tmp_path / "bomb.png"), str(ROOM)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    said = ("(8, 8)", "InvalidImage") if name == "pixels" else "(8, 8)"  # metadata costs no picture
    assert done.stdout.startswith(said), done.stdout


def test_the_child_notices_memory(tmp_path: Path) -> None:
    """The bound is one: what takes more than it fails."""
    (tmp_path / "good.png").write_bytes(plain())
    code = CHILD.replace("print(any_to_image(sys.argv[2]).size)", "bytes(10**9)")
    command = [sys.executable, "-c", code, str(tmp_path / "good.png"), str(tmp_path / "good.png"), str(ROOM)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "MemoryError" in done.stderr
    assert resource.getpagesize() > 0


def test_a_socket_is_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("x.png")
        with pytest.raises(InvalidImage, match="regular"):
            any_to_image(tmp_path / "x.png")

"""Small files that claim, or unpack to, a great deal: refused before memory is taken for it, by the limit's name."""

from __future__ import annotations

import gzip
import io
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.config import Settings
from engine.errors import EngineError, InvalidFeatures, InvalidInput
from engine.samples import FeatureSource, open_source
from engine.samples.arrays import npz_to_source
from engine.samples.bounds import Bounds

BOUNDS = Bounds(dimension=64, samples=1000, members=500, member_bytes=2**20, unpacked_bytes=2**26)
ROOM = 300 * 2**20
CHILD = """
import resource, sys
import engine.samples.archive, engine.samples.npz
from engine.config import Settings
from engine.errors import EngineError
from engine.samples import open_source
from engine.samples.bounds import Bounds
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[2]),) * 2)
try:
    source = open_source(sys.argv[1], settings=Settings(), bounds=eval(sys.argv[3]))
    for block in source.chunks():
        pass
except EngineError as error:
    print(type(error).__name__, error)
"""


def npy_head(shape: str, length: int | None = None) -> bytes:
    said = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(said) if length is None else length) + said


def npz(path: Path, head: bytes, zeros: int, name: str = "features.npy") -> Path:
    """A header and so many zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as stream:
        stream.write(head)
        for _ in range(zeros // 2**20):
            stream.write(bytes(2**20))
    return path


def wide_npy(path: Path) -> Path:
    np.save(path / "a.npy", np.ones((2, 65), np.float32))
    return path / "a.npy"


def long_npy(path: Path) -> Path:
    np.save(path / "a.npy", np.ones((1001, 2), np.float32))
    return path / "a.npy"


def lying_npy(path: Path) -> Path:
    (path / "a.npy").write_bytes(npy_head("(1000, 64)") + bytes(100))
    return path / "a.npy"


def headless_npy(path: Path) -> Path:
    """Its header goes on to the end of a large file."""
    with (path / "a.npy").open("wb") as stream:
        stream.write(npy_head("(2, 2)", 2**31))
        stream.truncate(2**30)
    return path / "a.npy"


def wide_moments(path: Path) -> Path:
    np.savez_compressed(path / "a.npz", mu=np.ones(4000, np.float32), sigma=np.zeros((4000, 4000), np.float32))
    return path / "a.npz"


def counted_moments(path: Path) -> Path:
    """Its sample count is a large array."""
    np.savez_compressed(path / "a.npz", mu=np.ones(2), sigma=np.eye(2), n=np.zeros(10**8, np.int8))
    return path / "a.npz"


def members(path: Path) -> Path:
    with tarfile.open(path / "a.tar.gz", "w:gz") as archive:
        for i in range(501):
            archive.addfile(tarfile.TarInfo(f"{i}.txt"))
    return path / "a.tar.gz"


def zip_members(path: Path) -> Path:
    with zipfile.ZipFile(path / "a.zip", "w") as archive:
        for i in range(501):
            archive.writestr(f"{i}.txt", b"")
    return path / "a.zip"


def directory(path: Path) -> Path:
    """A zip of a million members in its directory: ``zipfile`` would hold a gigabyte."""
    with zipfile.ZipFile(path / "one.zip", "w") as archive:
        archive.writestr("a.png", b"")
    whole = (path / "one.zip").read_bytes()
    entry = whole[whole.index(b"PK\x01\x02") : whole.index(b"PK\x05\x06")]
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 65535, 65535, len(entry) * 10**6, 0, 0)
    (path / "a.zip").write_bytes(b"PK\x03\x04" + entry * 10**6 + end)
    return path / "a.zip"


def long_names(path: Path) -> Path:
    """A gigabyte of names, each just below the limit of an extended header."""
    stream = io.BytesIO()
    with gzip.open(stream, "wb", compresslevel=1) as packed:
        for _ in range(100):
            packed.write(tarfile.TarInfo("a" * 1_000_000 + ".png").tobuf(tarfile.GNU_FORMAT))
    (path / "a.tar.gz").write_bytes(stream.getvalue())
    return path / "a.tar.gz"


def sparse(path: Path) -> Path:
    """A sparse member whose list of parts goes on and on."""
    info = tarfile.TarInfo("a.png")
    info.type = tarfile.GNUTYPE_SPARSE
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[482] = 1
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    part = (b"00000000001\0" * 2) * 21 + b"\1" + bytes(7)
    with gzip.open(path / "a.tar.gz", "wb", compresslevel=1) as stream:
        stream.write(bytes(head) + part * 10**5)
    return path / "a.tar.gz"


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "48 KB of two rows": (wide_npy, "65 dimensions, more than the 64"),
    "many rows": (long_npy, "1001 samples, more than the 1000"),
    "a shape beyond the file": (lying_npy, "cannot be read"),
    "a header without end": (headless_npy, "cannot be read"),
    "a zipped header without end": (lambda p: npz(p / "a.npz", npy_head("(2, 2)", 2**31), 2**29), "cannot be read"),
    "zipped zeros": (lambda p: npz(p / "a.npz", npy_head("(2000000, 64)"), 2**29), "samples, more than"),
    "zeros": (lambda p: npz(p / "a.npz", npy_head("(1000, 64)"), 2**29), "feature row 0 is zero"),
    "wide moments": (wide_moments, "4000 dimensions, more than the 64"),
    "a long count": (counted_moments, "n must be one whole number"),
    "members of a tar": (members, "501 members, more than the 500"),
    "members of a zip": (zip_members, "501 members, more than the 500"),
    "a zip's directory": (directory, "directory has"),
    "long names": (long_names, "unpacks to more than 67108864 bytes"),
    "a sparse member": (sparse, "cut short|more than"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_it_is_refused_within_little_memory(tmp_path: Path, name: str) -> None:
    make, said = BAD[name]
    command = [sys.executable, "-c", CHILD, str(make(tmp_path)), str(ROOM), repr(BOUNDS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert any(one in done.stdout for one in said.split("|")), done.stdout[:2000]
    assert len(done.stdout) < 2000


def test_rows_of_a_npz_are_those_of_its_array(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    for saved in (features, features.astype(">f8"), np.asfortranarray(features)):
        np.savez_compressed(tmp_path / "a.npz", features=saved)
        source = npz_to_source(tmp_path / "a.npz")
        assert isinstance(source, FeatureSource)
        for start, size in ((0, 50), (0, 8), (13, 9), (49, 1)):  # each begins anew
            assert np.array_equal(np.concatenate(list(source.chunks(start, size))), saved.astype(np.float32)[start:])
        source.close()


def test_a_npz_that_breaks_off_is_invalid(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(5000, 7)).astype(np.float32)
    np.savez_compressed(tmp_path / "a.npz", features=features)
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[100_000] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(InvalidFeatures):
        list(npz_to_source(tmp_path / "a.npz").chunks())  # type: ignore[union-attr]


def test_what_is_just_within_the_bounds_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((1000, 64), np.float32))
    np.savez(tmp_path / "a.npz", mu=np.ones(64), sigma=np.eye(64))
    for name in ("a.npy", "a.npz"):
        open_source(tmp_path / name, settings=Settings(), bounds=BOUNDS).close()
    np.savez(tmp_path / "b.npz", mu=np.ones(65), sigma=np.eye(65))
    with pytest.raises(InvalidInput, match="allowed here") as caught:
        open_source(tmp_path / "b.npz", settings=Settings(), bounds=BOUNDS)
    assert isinstance(caught.value, EngineError)
    assert "engine ingest" in (caught.value.hint or "")

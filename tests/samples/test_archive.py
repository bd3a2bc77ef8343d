"""Archives: every kind gives the same pictures; hostile ones are refused, whole or member by member."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.errors import InvalidImage, InvalidInput, NotEnoughSamples, SourceNotFound
from engine.samples import ArchiveSource, ImageSource
from engine.samples.brace_expansion import pattern_to_names

MODES = {"a.tar": "w", "a.tar.gz": "w:gz", "a.tgz": "w:gz", "a.tar.bz2": "w:bz2", "a.tar.xz": "w:xz"}
KINDS = ("a.zip", *MODES)


def png(red: int, size: int = 4) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (size, size), (red, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def pack(path: Path, members: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return path
    with tarfile.open(path, MODES.get(path.name, "w")) as tar:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def reds(source: ArchiveSource, start: int = 0) -> list[int]:
    return [np.asarray(sample.load())[0, 0, 0] for sample in source.samples(start)]


def reasons(source: ArchiveSource) -> dict[str, str]:
    found = {}
    for sample in source.samples():
        try:
            sample.load()
        except InvalidImage as error:
            found[sample.label] = error.message
    return found


@pytest.mark.parametrize("name", KINDS)
def test_pictures_in_the_archives_own_order(tmp_path: Path, name: str) -> None:
    members = {"b.png": png(1), "notes.txt": b"x", "a/a.jpg": png(2), "0.json": b"{}", ".hid.png": b"", "c.PNG": png(3)}
    source = ArchiveSource(pack(tmp_path / name, members))
    assert isinstance(source, ImageSource)
    assert [sample.label for sample in source.samples()] == ["b.png", "a/a.jpg", "c.PNG"]
    assert source.count() == 3
    assert reds(source) == [1, 2, 3]
    assert reds(source) == [1, 2, 3], "a source can be read again"
    assert source.describe()["type"] == "archive"
    source.close()


@pytest.mark.parametrize("name", KINDS)
@given(start=st.integers(0, 8))
def test_reading_can_start_anywhere(tmp_path_factory: pytest.TempPathFactory, name: str, start: int) -> None:
    path = tmp_path_factory.getbasetemp() / f"start-{name.replace('.', '-')}" / name
    if not path.exists():
        path.parent.mkdir()
        pack(path, {f"{i}.png": png(i) for i in range(7)})
    source = ArchiveSource(path)
    assert reds(source, start) == list(range(7))[start:]
    assert [sample.index for sample in source.samples(start)] == list(range(7))[start:]
    source.close()


@pytest.mark.parametrize("name", KINDS)
def test_many_threads_load_what_one_would(tmp_path: Path, name: str) -> None:
    source = ArchiveSource(pack(tmp_path / name, {f"{i}.png": png(i) for i in range(60)}))
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda sample: np.asarray(sample.load())[0, 0, 0], source.samples()))
    assert loaded == list(range(60))
    source.close()


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz"])
def test_names_that_point_outside_are_quarantined(tmp_path: Path, name: str) -> None:
    members = {"../up.png": png(1), "/abs.png": png(2), "c:\\x.png": png(3), "a/../../b.png": png(4), "ok.png": png(5)}
    (tmp_path / "in").mkdir()
    source = ArchiveSource(pack(tmp_path / "in" / name, members))
    found = reasons(source)
    assert len(found) == 4
    assert all("outside" in reason for reason in found.values())
    assert [path.name for path in tmp_path.rglob("*.png")] == []
    source.close()


@pytest.mark.parametrize("name", ["a.tar", "a.tgz"])
def test_links_and_devices_in_a_tar_are_quarantined(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / name, MODES[name]) as tar:  # type: ignore[call-overload]
        for label, kind in (("s.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE), ("d.png", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(label)
            info.type = kind
            info.linkname = "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("ok.png")
        info.size = len(png(3))
        tar.addfile(info, io.BytesIO(png(3)))
    source = ArchiveSource(tmp_path / name)
    found = reasons(source)
    assert found.keys() == {"s.png", "h.png", "d.png"}
    assert "link" in found["s.png"]
    assert "not a regular file" in found["d.png"]
    assert reds(source, 3) == [3]
    source.close()


def test_links_in_a_zip_are_quarantined(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("s.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    source = ArchiveSource(tmp_path / "a.zip")
    assert "link" in reasons(source)["s.png"]
    source.close()


@pytest.mark.parametrize("name", KINDS)
def test_bad_members_cost_only_themselves(tmp_path: Path, name: str) -> None:
    source = ArchiveSource(
        pack(tmp_path / name, {"a.png": png(1), "bad.png": b"no picture", "empty.png": b"", "z.png": png(2)})
    )
    assert reasons(source).keys() == {"bad.png", "empty.png"}
    source.close()


@pytest.mark.parametrize("name", KINDS)
def test_a_member_larger_than_a_picture_can_be(tmp_path: Path, name: str) -> None:
    members = {"a.png": png(1), "huge.png": b"\0" * (2**20 + 2000), "z.png": png(2)}
    source = ArchiveSource(pack(tmp_path / name, members), max_pixels=100)
    assert "more than" in reasons(source)["huge.png"]
    assert reds(source, 2) == [2]
    source.close()


@pytest.mark.parametrize("name", ["a.zip", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_an_archive_that_unpacks_to_too_much(tmp_path: Path, name: str) -> None:
    path = pack(tmp_path / name, {f"{i}.png": b"\0" * 500_000 for i in range(10)})
    assert path.stat().st_size < 50_000
    with pytest.raises(InvalidInput, match="unpacks to more than 1000000") as caught:
        ArchiveSource(path, max_archive_bytes=1_000_000)
    assert "ENGINE_MAX_ARCHIVE_BYTES" in (caught.value.hint or "")


def test_a_compressed_tar_is_counted_as_it_unpacks(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tgz", {"not-a-picture.bin": b"\0" * 5_000_000})
    with pytest.raises(InvalidInput, match="unpacks"):
        ArchiveSource(path, max_archive_bytes=1_000_000)


def test_a_zip_that_lies_about_its_sizes(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"lie.png": b"\0" * 3_000_000, "z.png": png(2)})
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02")  # the directory's entry of lie.png; its size at 24 (APPNOTE.TXT 4.3.12)
    struct.pack_into("<I", data, place + 24, 100)
    path.write_bytes(data)
    source = ArchiveSource(path, max_archive_bytes=1_000_000)
    assert "lie.png" in reasons(source)
    assert reds(source, 1) == [2]
    source.close()


def test_a_zip_whose_directory_and_members_disagree(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"a.png": png(1)})
    data = bytearray(path.read_bytes())
    data[30 + len("a.png") + 20] ^= 0xFF  # inside the compressed bytes
    path.write_bytes(data)
    source = ArchiveSource(path)
    assert "cannot be unpacked" in reasons(source)["a.png"]
    source.close()


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"a.png": png(1)})
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match="encrypted") as caught:
        ArchiveSource(path)
    assert caught.value.hint


def extended_header_bomb(path: Path, opener: Callable[..., Any]) -> Path:
    """A tar whose first header announces a long name of 8 GiB."""
    info = tarfile.TarInfo("././@LongLink")
    info.type = tarfile.GNUTYPE_LONGNAME
    info.size = 8 * 2**30 - 1
    with opener(path, "wb") as stream:
        stream.write(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 2**22)
    return path


@pytest.mark.parametrize(("name", "opener"), [("a.tar", open), ("a.tgz", gzip.open), ("a.tar.bz2", bz2.open)])
def test_a_tar_with_an_endless_header(tmp_path: Path, name: str, opener: Callable[..., Any]) -> None:
    with pytest.raises(InvalidInput, match="extended header"):
        ArchiveSource(extended_header_bomb(tmp_path / name, opener))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_truncated_archive_is_refused(tmp_path: Path, name: str, share: float) -> None:
    rng = np.random.default_rng(0)
    path = pack(tmp_path / name, {f"{i}.png": rng.bytes(3000) for i in range(10)})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InvalidInput):
        ArchiveSource(path)


@given(
    data=st.binary(max_size=1500), head=st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0"])
)
def test_any_file_gives_pictures_or_a_typed_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.bin"
    path.write_bytes(head + data)
    with pytest.raises((InvalidInput, NotEnoughSamples)):
        ArchiveSource(path)


def test_odd_member_names_have_printable_labels(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("a\n\udcff.png")
        info.size = len(png(1))
        tar.addfile(info, io.BytesIO(png(1)))
    source = ArchiveSource(tmp_path / "a.tar")
    assert [sample.label for sample in source.samples()] == ["a\\n\\xff.png"]
    source.close()


def test_webdataset_shards(tmp_path: Path) -> None:
    for shard in range(3):
        members: dict[str, bytes] = {}
        for i in range(4):
            key = f"{shard}{i:03d}"
            members |= {f"{key}.png": png(shard * 4 + i), f"{key}.txt": b"a caption", f"{key}.cls": b"3"}
        pack(tmp_path / f"shard-{shard:03d}.tar", members)
    source = ArchiveSource(tmp_path / "shard-{000..002}.tar")
    assert source.count() == 12
    assert reds(source) == list(range(12))
    assert reds(source, 6) == list(range(6, 12))
    assert next(source.samples(6)).label == "shard-001.tar/1002.png"
    first = source.digest()
    source.close()
    pack(tmp_path / "shard-001.tar", {"x.png": png(77)})
    changed = ArchiveSource(tmp_path / "shard-{000..002}.tar")
    assert changed.digest() != first
    changed.close()
    with pytest.raises(SourceNotFound, match=r"shard-003\.tar"):
        ArchiveSource(tmp_path / "shard-{000..003}.tar")


def test_brace_patterns() -> None:
    assert pattern_to_names("a.tar") == ["a.tar"]
    assert pattern_to_names("{08..11}.tar") == ["08.tar", "09.tar", "10.tar", "11.tar"]
    assert pattern_to_names("{8..11}") == ["8", "9", "10", "11"]
    assert pattern_to_names("{a}-{0..1}-{00..01}") == ["{a}-0-00", "{a}-0-01", "{a}-1-00", "{a}-1-01"]


@pytest.mark.parametrize("pattern", ["{3..1}.tar", "{0..999999999}.tar", "{0..999}{0..999}.tar"])
def test_brace_patterns_that_make_no_sense(pattern: str) -> None:
    with pytest.raises(InvalidInput, match="shard pattern"):
        pattern_to_names(pattern)


@pytest.mark.parametrize("name", KINDS)
def test_no_pictures(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotEnoughSamples, match="no pictures"):
        ArchiveSource(pack(tmp_path / name, {"readme.txt": b"nothing"}))


def test_missing_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="not there"):
        ArchiveSource(tmp_path / "a.zip")
    with pytest.raises(SourceNotFound, match="not a regular file"):
        ArchiveSource(tmp_path)
    (tmp_path / "a.rar").write_bytes(b"Rar!\x1a\x07\x01\x00")
    with pytest.raises(InvalidInput, match="neither a zip nor a tar"):
        ArchiveSource(tmp_path / "a.rar")


def test_a_member_without_a_name_is_left_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("X", b"")
        archive.writestr("0.png", png(0))
    data = (tmp_path / "a.zip").read_bytes()
    entry = data.index(b"PK\x01\x02")
    unnamed = data[entry : entry + 28] + bytes(2) + data[entry + 30 : entry + 46] + data[entry + 47 :]
    size = unnamed.index(b"PK\x05\x06") + 12
    shorter = int.from_bytes(unnamed[size : size + 4], "little") - 1
    (tmp_path / "a.zip").write_bytes(
        data[:entry] + unnamed[:size] + shorter.to_bytes(4, "little") + unnamed[size + 4 :]
    )
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["", "0.png"]
    source = ArchiveSource(tmp_path / "a.zip")
    assert reds(source) == [0]
    source.close()

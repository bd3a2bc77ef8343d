"""A folder's pictures: which, in what order, and what identifies them."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.errors import InvalidImage, NotEnoughSamples, SourceNotFound
from engine.samples import FolderSource, ImageSource
from engine.samples.labels import name_to_label


def write(path: Path, red: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (red, 0, 0)).save(path, "PNG")


def labels(source: FolderSource, start: int = 0) -> list[str]:
    return [sample.label for sample in source.samples(start)]


def test_recursive_in_byte_order_without_hidden_and_other_files(tmp_path: Path) -> None:
    for name in ("b.png", "B.PNG", "a/z.png", "a-1.png", "é.png", ".hidden.png", ".cache/x.png", "a/b/c.jpeg"):
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    source = FolderSource(tmp_path)
    # '-' (2d) sorts before '/' (2f); capitals before small letters; é (c3 a9) last
    assert labels(source) == ["B.PNG", "a-1.png", "a/b/c.jpeg", "a/z.png", "b.png", "é.png"]
    assert source.count() == 6
    assert [sample.index for sample in source.samples(4)] == [4, 5]
    assert isinstance(source, ImageSource)


def test_links_to_folders_are_entered_once_and_loops_end(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root / "a" / "1.png")
    write(tmp_path / "elsewhere" / "2.png")
    (root / "a" / "up").symlink_to("..")
    (root / "b").symlink_to("a")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    (root / "self").symlink_to("self")
    assert labels(FolderSource(root)) == ["a/1.png", "c/2.png"]


def test_odd_names_have_printable_labels(tmp_path: Path) -> None:
    write(tmp_path / "new\nline.png", 1)
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.png", os.O_CREAT | os.O_WRONLY))
    source = FolderSource(tmp_path)
    assert labels(source) == ["new\\nline.png", "\\xff.png"]
    json.dumps(source.describe()).encode("utf-8")
    samples = list(source.samples())
    assert samples[0].load().getpixel((0, 0)) == (1, 0, 0)
    with pytest.raises(InvalidImage, match=r"\\xff.png is empty"):
        samples[1].load()


@given(st.text(max_size=30))
def test_labels_can_always_be_printed_and_stored(name: str) -> None:
    label = name_to_label(name)
    assert label.isprintable()
    label.encode("utf-8")
    if name.isprintable():
        assert label == name


def test_bad_files_are_reported_one_by_one(tmp_path: Path) -> None:
    write(tmp_path / "good.png", 7)
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "dangling.png").symlink_to("nowhere")
    reasons = {}
    for sample in FolderSource(tmp_path).samples():
        try:
            sample.load()
        except InvalidImage as error:
            reasons[sample.label] = error.message
    assert reasons.keys() == {"empty.png", "pipe.png", "dangling.png"}
    assert "empty" in reasons["empty.png"]
    assert "regular" in reasons["pipe.png"]
    assert "no file" in reasons["dangling.png"]


def test_a_file_that_vanishes_after_listing(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    source = FolderSource(tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(InvalidImage, match="no file"):
        next(source.samples()).load()


def test_digest_is_of_names_and_content(tmp_path: Path) -> None:
    write(tmp_path / "one" / "a.png", 1)
    write(tmp_path / "two" / "a.png", 1)
    one = FolderSource(tmp_path / "one").digest()
    os.utime(tmp_path / "two" / "a.png", (1, 1))
    assert FolderSource(tmp_path / "two").digest() == one
    write(tmp_path / "two" / "a.png", 2)
    assert FolderSource(tmp_path / "two").digest() != one
    write(tmp_path / "two" / "a.png", 1)
    assert FolderSource(tmp_path / "two").digest() == one
    (tmp_path / "two" / "a.png").rename(tmp_path / "two" / "b.png")
    assert FolderSource(tmp_path / "two").digest() != one


def test_digest_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert len(FolderSource(tmp_path).digest()) == 64


def test_content_that_moves_between_files_changes_the_digest(tmp_path: Path) -> None:
    for folder, (first, second) in {"one": (b"ab", b"c"), "two": (b"a", b"bc")}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(first)
        (tmp_path / folder / "b.png").write_bytes(second)
    assert FolderSource(tmp_path / "one").digest() != FolderSource(tmp_path / "two").digest()


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="no folder"):
        FolderSource(tmp_path / "missing")
    (tmp_path / "drawing.svg").write_text("<svg/>")
    with pytest.raises(NotEnoughSamples, match="no pictures") as caught:
        FolderSource(tmp_path)
    assert "svg" in (caught.value.hint or "")


def test_max_pixels_is_handed_down(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (11, 10)).save(stream, "PNG")
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    with pytest.raises(InvalidImage, match="more than the 100"):
        next(FolderSource(tmp_path, max_pixels=100).samples()).load()

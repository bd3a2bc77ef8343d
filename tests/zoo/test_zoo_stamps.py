"""Kept files: whole or absent, and made again when what they depend on changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.zoo.atomic import write_atomically
from benchmarks.zoo.stamps import is_current, parts_to_stamp, set_stamp


def test_a_stamp_follows_values_and_file_contents(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text("a = 1")
    first = parts_to_stamp("x", 3, source)
    assert first == parts_to_stamp("x", 3, source)
    assert first != parts_to_stamp("x", 4, source)
    source.write_text("a = 2")
    assert first != parts_to_stamp("x", 3, source)


def test_a_stamp_vouches_for_its_own_parts_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / ".stamp"
    assert not is_current(path, "a")
    set_stamp(path, "a")
    assert is_current(path, "a")
    assert not is_current(path, "b")


def test_an_interrupted_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]

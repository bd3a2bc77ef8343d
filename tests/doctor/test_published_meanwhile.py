"""A doctor that looks while somebody publishes sees no damage where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.doctor import derived
from engine.rerank import record_file as files
from tests.rerank.test_record_store import append, opened


def test_segments_that_went_meanwhile_are_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(opened(tmp_path), {1: 1, 2: 1})
    calls = 0

    def looked_at(root: Path, directory: files.Directory) -> Iterator[int]:
        nonlocal calls
        calls += 1
        if calls == 1:  # the segment is written anew, and removed
            append(opened(tmp_path), {3: 1}, {1: 1, 2: 1, 3: 1})
            assert list(files.damaged_records(root, directory)) == [1, 2]
        return files.damaged_records(root, directory)

    monkeypatch.setattr(derived, "damaged_records", looked_at)
    directory, bad = derived._examined(tmp_path)
    assert bad == []
    assert directory is not None
    assert sorted(directory.entries["id"].tolist()) == [1, 2, 3]
    assert calls == 2


def test_damage_stays_damage(tmp_path: Path) -> None:
    append(opened(tmp_path), {1: 1, 2: 1})
    (segment,) = tmp_path.glob("*.factors")
    segment.unlink()
    assert derived._examined(tmp_path)[1] == [1, 2]

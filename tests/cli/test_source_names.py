"""What a model is called when nobody says."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import InvalidInput
from engine.ingest.names import source_to_name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("zoo/foxes.npy", "foxes"),
        ("foxes.tar.gz", "foxes"),
        ("shards/fox-gan-{000..010}.tar", "fox-gan"),
        ("{0..3}.tar", "{0..3}.tar"),
        ("no-suffix", "no-suffix"),
        (Path("a/b.zip"), "b"),
    ],
)
def test_source_to_name(source: str | Path, name: str) -> None:
    assert source_to_name(source) == name


def test_a_folder_keeps_its_dots(tmp_path: Path) -> None:
    (tmp_path / "foxes.v2").mkdir()
    assert source_to_name(tmp_path / "foxes.v2") == "foxes.v2"
    assert source_to_name(f"{tmp_path}/foxes.v2/.") == "foxes.v2"


@pytest.mark.parametrize("source", ["program:draw {seed} {count} {out}", "diffusers:a/b", 7])
def test_others_need_a_name(source: object) -> None:
    with pytest.raises(InvalidInput, match="needs a name"):
        source_to_name(source)

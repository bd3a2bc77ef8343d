"""Imported by the fork server alone: loads and compiles what its children would else load one by one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from engine.config import Settings
from tests.torture import child, content, kills
from tests.torture.operations import opened

KINDS = ("flat", "quantized")


def warm(folder: Path) -> None:
    """Use everything once that is imported or compiled when it is first used."""
    make = folder / "pictures"
    content.make_pictures(make, 1, 8)
    for kind in KINDS:
        settings = Settings(index_folder=str(folder / kind), index_kind=kind)
        with opened(f"sqlite:///{folder / kind}.db", settings, create=True) as eng:
            eng.ingest(make, name="pictures")
            for seed in range(12):
                eng.ingest(content.features(seed), name=f"m{seed}")
            eng.build_index()
            eng.doctor()
            for method in ("first_moment", "gaussian_density", "blend", "linear_density"):
                eng.search_vectors(content.query(0), 3, method)


with tempfile.TemporaryDirectory() as place:
    warm(Path(place))
READY = (child.work, kills.kills)

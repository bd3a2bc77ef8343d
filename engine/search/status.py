"""What ``engine index status`` says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.errors import CorruptData
from engine.index import GraphIndex, QuantizedIndex
from engine.index import snapshot as snapshots
from engine.index.tuning import Tuning
from engine.records import EncoderIdentity
from engine.search.spaces import FIRST_MOMENT
from engine.search.views import IndexViews
from engine.storage import Catalog


def view_to_status(
    views: IndexViews,
    catalog: Catalog,
    encoder_id: int,
    identity: EncoderIdentity,
    key: str = FIRST_MOMENT,
    version: str = "",
) -> dict[str, Any]:
    """One encoder's index in the space ``key``, which should be of ``version``: JSON-serialisable."""
    folder = views.folder(identity, key)
    status: dict[str, Any] = {
        "encoder": identity.name,
        "space": key,
        "fingerprint": identity.fingerprint,
        "dimension": identity.dimension,
        "models": catalog.statistics_count(encoder_id),
        "change": catalog.last_change(),
        "folder": str(folder),
    }
    try:
        manifest = snapshots.read_manifest(folder)
    except CorruptData as error:
        return {**status, "snapshot": "damaged", "reason": error.message}
    if manifest is None:
        return {**status, "snapshot": "missing"}
    size = sum(path.stat().st_size for path in folder.glob("*/*") if path.is_file())
    return {
        **status,
        "snapshot": "current" if (manifest.version, manifest.change) == (version, status["change"]) else "behind",
        "kind": manifest.kind,
        "why": manifest.why,
        "recall": _recalls(folder / manifest.generation, manifest.kind),
        "snapshot_models": manifest.models,
        "snapshot_change": manifest.change,
        "bytes": size,
    }


def _recalls(folder: Path, kind: str) -> list[dict[str, Any]] | None:
    """What was measured of each recall when the index was built; None where the kind is exact."""
    if kind not in (QuantizedIndex.kind, GraphIndex.kind):
        return None
    try:
        tuning = Tuning.from_json(json.loads((folder / "tuning.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []
    return [
        {
            "answers": one.depth, "asked": one.target, "measured": one.recall, "models": tuning.models,
            "queries": tuning.queries,
        }
        for one in tuning.settings
    ]  # fmt: skip

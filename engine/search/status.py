"""What ``engine index status`` says."""

from __future__ import annotations

from typing import Any

from engine.errors import CorruptData
from engine.index import snapshot as snapshots
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
        "snapshot_models": manifest.models,
        "snapshot_change": manifest.change,
        "bytes": size,
    }

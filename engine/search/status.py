"""What ``engine index status`` says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.errors import CorruptData
from engine.index import QuantizedIndex
from engine.index import snapshot as snapshots
from engine.index.quantized.tuning import Tuning
from engine.records import EncoderIdentity, EncoderRef
from engine.rerank.record_file import read_counts, read_summary
from engine.rerank.scorer import SAMPLES, factors_name
from engine.search.agreement import load_agreement
from engine.search.spaces import FIRST_MOMENT
from engine.search.views import IndexViews
from engine.storage import Catalog

AGREEMENT = "agreement.json"
"""What the file beside the index is called that keeps the measured agreement."""


def view_to_status(
    views: IndexViews,
    catalog: Catalog,
    encoder: EncoderRef,
    key: str = FIRST_MOMENT,
    version: str = "",
) -> dict[str, Any]:
    """One encoder's index in the space ``key``, which should be of ``version``: JSON-serialisable."""
    identity = encoder.identity
    folder = views.folder(identity, key)
    status: dict[str, Any] = {
        "encoder": identity.name,
        "space": key,
        "fingerprint": identity.fingerprint,
        "dimension": identity.dimension,
        "models": catalog.statistics_count(encoder.id),
        "change": catalog.last_change(),
        "folder": str(folder),
    }
    try:
        manifest = snapshots.read_manifest(folder)
    except CorruptData as error:
        return {**status, "snapshot": "damaged", "reason": error.message}
    if manifest is None:
        return {**status, "snapshot": "missing"}
    held = views.held(encoder.id, key)
    refused = "" if held is None else held.index.live.base.refused
    size = sum(path.stat().st_size for path in folder.glob("*/*") if path.is_file())
    return {
        **status,
        "snapshot": "current" if (manifest.version, manifest.change) == (version, status["change"]) else "behind",
        "kind": manifest.kind,
        "why": manifest.why if refused in manifest.why else f"{refused}; its snapshot: {manifest.why}",
        "recall": _recalls(folder / manifest.generation, manifest.kind),
        "snapshot_models": manifest.models,
        "snapshot_change": manifest.change,
        "bytes": size,
    }


def _recalls(folder: Path, kind: str) -> list[dict[str, Any]] | None:
    """What was measured of each recall when the index was built; None where the kind is exact."""
    if kind != QuantizedIndex.kind:
        return None
    try:
        tuning = Tuning.from_json(json.loads((folder / "tuning.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []
    return [
        {
            "answers": one.depth, "asked": one.target, "measured": one.recall, "models": tuning.models,
            "queries": tuning.queries, "hardest": one.hardest,
        }
        for one in tuning.settings
    ]  # fmt: skip


def files_to_status(views: IndexViews, identity: EncoderIdentity, shrinkage: float) -> dict[str, Any]:
    """The files that exact rules read, and the agreement that was measured last: JSON-serialisable."""
    return {
        "factors": _file_to_status(views.beside(identity, factors_name(shrinkage))),
        "samples": _file_to_status(views.beside(identity, SAMPLES)),
        "agreement": load_agreement(views.beside(identity, AGREEMENT)),
    }


def _file_to_status(folder: Path) -> dict[str, Any]:
    """``hits`` were found in the file, ``held`` in memory, ``misses`` made from the database, by all processes."""
    counts = read_counts(folder)
    said: dict[str, Any] = {
        "folder": str(folder),
        "hits": counts.get("mapped", 0),
        "held": counts.get("held", 0),
        "misses": counts.get("missed", 0),
        "damaged": counts.get("damaged", 0),
    }
    try:
        summary = read_summary(folder)
    except CorruptData as error:
        return {**said, "file": "damaged", "reason": error.message, "models": 0, "bytes": 0}
    if summary is None:
        return {**said, "file": "missing", "models": 0, "bytes": 0}
    return {**said, "file": "there", **summary}

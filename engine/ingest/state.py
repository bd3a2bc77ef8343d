"""Where a running ingest stands, and its bytes in a checkpoint (an ``.npz`` without pickled objects)."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.errors import CorruptData
from engine.records import Quarantined, Thumbnail
from engine.statistics import Moments


@dataclass
class IngestState:
    """Moments of the samples before ``position``, and what is kept of them."""

    moments: Moments
    position: int = 0
    kept: list[NDArray[np.float16]] = field(default_factory=list)
    thumbnails: list[Thumbnail] = field(default_factory=list)
    quarantine: list[Quarantined] = field(default_factory=list)

    def kept_features(self) -> NDArray[np.float16] | None:
        """Kept sample features ``(n, d)`` float16, or None."""
        return np.stack(self.kept) if self.kept else None


def state_to_bytes(state: IngestState) -> bytes:
    """A checkpoint."""
    dimension = state.moments.mean.size
    notes = {
        "count": state.moments.count,
        "position": state.position,
        "quarantine": [[item.label, item.reason] for item in state.quarantine],
        "media_types": [item.media_type for item in state.thumbnails],
    }
    arrays = {f"thumbnail_{i}": np.frombuffer(t.data, np.uint8) for i, t in enumerate(state.thumbnails)}
    stream = io.BytesIO()
    np.savez(
        stream,
        notes=np.frombuffer(json.dumps(notes).encode(), np.uint8),
        mean=state.moments.mean,
        scatter=state.moments.scatter,
        kept=np.stack(state.kept) if state.kept else np.empty((0, dimension), np.float16),
        **arrays,  # type: ignore[arg-type]
    )
    return stream.getvalue()


def bytes_to_state(data: bytes) -> IngestState:
    """The state of a checkpoint.

    Raises:
        CorruptData: it cannot be read.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            notes = json.loads(arrays["notes"].tobytes())
            moments = Moments(arrays["mean"].size)
            moments.count = int(notes["count"])
            moments.mean = arrays["mean"]
            moments.scatter = arrays["scatter"]
            return IngestState(
                moments,
                int(notes["position"]),
                list(arrays["kept"]),
                [
                    Thumbnail(arrays[f"thumbnail_{i}"].tobytes(), media_type)
                    for i, media_type in enumerate(notes["media_types"])
                ],
                [Quarantined(label, reason) for label, reason in notes["quarantine"]],
            )
    except Exception as error:
        raise CorruptData(f"an ingest checkpoint cannot be read: {error}") from error

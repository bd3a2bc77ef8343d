"""A model's record as a caller may see it: readers learn what its source is, admins also where it lies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from engine.records import Model
from engine.server.encoders import encoder_to_told
from engine.shapes import model_to_json
from engine.storage.keys import ADMIN, READ

ALLOWED = frozenset({"type", "files", "archives", "rows", "dimension", "samples"})
"""Of a source: its kind and its counts. Paths, commands, addresses and options are the admin's."""
WRITERS = frozenset({"id", "name", "kind", "encoders", "samples", "quarantined", "created_at", "updated_at"})
"""What a writer who may not read is told of a model; the other members are empty."""
EMPTY: Mapping[str, Any] = model_to_json(Model(0, "", ""))


def model_to_told(model: Model, scopes: Collection[str]) -> dict[str, Any]:
    """A model's record for a caller with these scopes."""
    said = model_to_json(model)
    if ADMIN in scopes:
        return said
    said["source"] = {key: value for key, value in said["source"].items() if key in ALLOWED}
    said["encoders"] = list(map(encoder_to_told, said["encoders"]))
    said["generator"] = None if said["generator"] is None else {"type": said["generator"].get("type")}
    if READ not in scopes:
        return {key: value if key in WRITERS else EMPTY[key] for key, value in said.items()}
    return said

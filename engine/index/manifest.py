"""What a snapshot says of itself, and the reading of it: nothing in the file is believed before it is checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from engine.errors import CorruptData

CURRENT = "CURRENT.json"
FORMAT = 7


@dataclass(frozen=True)
class SnapshotManifest:
    """What a snapshot says of itself. ``change`` is the last change it contains, ``files`` their SHA-256.

    ``space`` names what was done to the means before they were indexed, ``version`` the arrays that did it.
    """

    format: int
    collection: str
    encoder: str
    fingerprint: str
    space: str
    version: str
    kind: str
    dimension: int
    models: int
    change: int
    generation: str
    why: str
    files: dict[str, str]


def manifest_to_text(manifest: SnapshotManifest) -> str:
    """What is written: the fields, and the SHA-256 of them."""
    return signed(asdict(manifest))


def signed(said: Mapping[str, Any]) -> str:
    """JSON with its own SHA-256 in it, in place of one that was there."""
    fields = {name: value for name, value in said.items() if name != "sha256"}
    return json.dumps({**fields, "sha256": _digest(fields)}, indent=1)


def read_manifest(root: Path) -> SnapshotManifest | None:
    """The current snapshot's manifest, or None if there is none.

    Raises:
        CorruptData: the manifest cannot be understood, or does not match its checksum.
    """
    path = root / CURRENT
    try:
        said: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptData(f"the index manifest {path} cannot be read: {error}") from error
    if isinstance(said, dict) and isinstance(said.get("format"), int) and said["format"] != FORMAT:
        raise CorruptData(f"the index manifest {path} has format {said['format']}, this engine reads {FORMAT}")
    expected = {field.name: _TYPES[str(field.type)] for field in fields(SnapshotManifest)}
    if not isinstance(said, dict) or said.keys() != {*expected, "sha256"}:
        raise CorruptData(f"the index manifest {path} is not one of this engine's")
    if said.pop("sha256") != _digest(said):
        raise CorruptData(f"the index manifest {path} does not match its checksum")
    for name, kind in expected.items():
        value = said[name]
        if not isinstance(value, kind) or isinstance(value, bool) or (isinstance(value, int) and value < 0):
            raise CorruptData(f"the index manifest {path} has {name} = {value!r}")
    if not all(isinstance(digest, str) for digest in said["files"].values()):
        raise CorruptData(f"the index manifest {path} has files without a checksum")
    if not all(map(_is_plain, (said["generation"], *said["files"]))):
        raise CorruptData(f"the index manifest {path} points outside its folder")
    return SnapshotManifest(**said)


def _digest(said: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


_TYPES: dict[str, type] = {"int": int, "str": str, "dict[str, str]": dict}


def _is_plain(name: str) -> bool:
    """Whether it names something directly in a folder, on any system."""
    return name not in ("", ".", "..") and name.isprintable() and not any(character in name for character in "/\\:")

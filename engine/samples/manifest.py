"""A manifest: many models with where they come from and what is said of them, as YAML or JSON Lines.

    models:
      - name: adventurer-avatars
        tags: [avatar, face]
        license: CC-BY-4.0
        generator: {type: program, command: [node, draw.mjs, --seed, "{seed}", --count, "{count}", --out, "{out}"]}
        samples: 300
      - name: landscapes
        source: pictures/landscapes

Paths are relative to the manifest's folder. ``defaults:`` beside ``models:`` holds fields for entries that do not
set them, and for which they are of use. A bad entry is reported with its line and does not keep the others from being
read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import InvalidManifest
from engine.samples.manifest_entry import ENTRY_KEYS, check_keys, checked_entry
from engine.samples.manifest_text import Raw, jsonl_to_raw, yaml_to_raw

LINES_SUFFIXES = (".jsonl", ".ndjson")
YAML_SUFFIXES = (".yaml", ".yml")
MAX_BYTES = 64 * 2**20
"""A million entries with their descriptions; more is not a manifest."""


@dataclass(frozen=True)
class ManifestEntry:
    """One model.

    Attributes:
        source: an absolute path, ``SCHEME:REST``, or a mapping, as ``open_source`` takes it.
        line: where it stands, from 1.
        as_one, replace: as ``Engine.ingest`` takes them.
        given: which descriptive fields it sets; only these are written to the collection.
    """

    name: str
    source: str | dict[str, Any]
    line: int
    kind: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    author: str | None = None
    license: str | None = None
    base_model: str | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    resolution: int | None = None
    samples: int | None = None
    seed: int | None = None
    as_one: bool = False
    replace: bool = False
    encoder: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    given: frozenset[str] = frozenset()

    def details(self) -> dict[str, Any]:
        """The descriptive fields that the entry sets, as ``Engine.ingest`` takes them."""
        return {key: getattr(self, key) for key in sorted(self.given)}


@dataclass(frozen=True)
class ManifestError:
    """An entry that cannot be used: where it stands, its name if that much is known, and why."""

    line: int
    name: str | None
    error: InvalidManifest


def is_manifest(path: str | Path) -> bool:
    """Whether a path is a manifest by its suffix: ``.yaml``, ``.yml``, ``.jsonl`` or ``.ndjson``."""
    path = Path(path)
    return path.suffix.lower() in (*YAML_SUFFIXES, *LINES_SUFFIXES) and path.is_file()


def read_manifest(path: str | Path) -> list[ManifestEntry | ManifestError]:
    """Read a manifest's entries, in order.

    Raises:
        InvalidManifest: the file as a whole cannot be read.
    """
    path = Path(path)
    data = _path_to_bytes(path)
    defaults, raws = (jsonl_to_raw if path.suffix.lower() in LINES_SUFFIXES else yaml_to_raw)(data)
    _check_defaults(defaults)
    if not raws:
        raise InvalidManifest(f"{path.name} lists no models", hint="write a list, or models: with a list under it")
    folder = path.absolute().parent
    first_lines: dict[str, int] = {}
    return [_entry(raw, defaults, folder, first_lines) for raw in raws]


def _entry(
    raw: Raw, defaults: dict[str, Any], folder: Path, first_lines: dict[str, int]
) -> ManifestEntry | ManifestError:
    name = raw.value.get("name") if isinstance(raw.value, dict) else None
    name = name if isinstance(name, str) else None
    try:
        if raw.error is not None:
            raise InvalidManifest(raw.error)
        entry = ManifestEntry(line=raw.line, **checked_entry(raw.value, defaults, folder))
        if entry.name in first_lines:
            raise InvalidManifest(
                f"the name {entry.name!r} is taken by the entry on line {first_lines[entry.name]}",
                hint="give each model a name of its own",
            )
    except InvalidManifest as exc:
        return ManifestError(raw.line, name, InvalidManifest(f"line {raw.line}: {exc.message}", hint=exc.hint))
    except Exception as exc:  # whatever is wrong with one entry, the others are read
        return ManifestError(raw.line, name, InvalidManifest(f"line {raw.line}: {type(exc).__name__}: {exc}"))
    first_lines[entry.name] = raw.line
    return entry


def _check_defaults(defaults: dict[str, Any]) -> None:
    allowed = [key for key in ENTRY_KEYS if key not in ("name", "source", "generator")]
    check_keys(defaults, allowed, f"it may hold {', '.join(allowed)}", "'defaults' cannot hold")


def _path_to_bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise InvalidManifest(f"there is no manifest {path}")
        if path.stat().st_size > MAX_BYTES:
            raise InvalidManifest(f"{path.name} has more than {MAX_BYTES} bytes", hint="split it into several")
        return path.read_bytes()
    except OSError as exc:
        raise InvalidManifest(f"{path} cannot be read: {exc.strerror}") from exc

"""One entry of a manifest, checked field by field."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from engine.errors import InvalidManifest
from engine.numbers import checked_whole, shown
from engine.samples.open import SCHEMES
from engine.texts import is_storable, nearest

TEXTS = ("kind", "description", "author", "license", "base_model")
DETAILS = (*TEXTS, "tags", "links", "resolution", "metadata")
FLAGS = ("as_one", "replace")
ENTRY_KEYS = ("name", "source", "generator", "samples", "seed", *FLAGS, "encoder", *DETAILS, "licence")
DRAWN = ("samples", "seed")
"""Defaults of these are for the entries that are generators alone."""


def checked_entry(value: Any, defaults: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An entry's value to the fields of ``ManifestEntry``, without ``line``.

    Raises:
        InvalidManifest: an unknown key, a wrong type, no name, or not exactly one of source and generator.
    """
    if not isinstance(value, dict):
        raise InvalidManifest(f"an entry is a mapping with a name, got {type(value).__name__}")
    check_keys(value, ENTRY_KEYS, f"keys are {', '.join(ENTRY_KEYS)}; put others under metadata:")
    value = _one_spelling(value)
    idle = ("as_one",) if _is_drawn(value) else DRAWN
    entry = {**{key: item for key, item in _one_spelling(defaults).items() if key not in idle}, **value}
    fields: dict[str, Any] = {"name": _name(entry.get("name")), "source": _source(entry, folder)}
    for key, check in CHECKS.items():
        if entry.get(key) is not None:
            fields[key] = check(key, entry[key])
    # An explicit null clears a field; only a kind cannot be cleared.
    fields["given"] = frozenset(key for key in DETAILS if key in entry and (key in fields or key != "kind"))
    return fields


def check_keys(value: Mapping[Any, Any], known: Collection[str], hint: str, what: str = "unknown key") -> None:
    """Refuse keys that are not known, with the nearest that is.

    Raises:
        InvalidManifest
    """
    unknown = [str(key) for key in value if key not in known]
    if unknown:
        said = ", ".join(f"{key!r:.80}" for key in unknown[:5])
        raise InvalidManifest(f"{what} {said}", hint=nearest(unknown[0], known, hint))


def _is_drawn(entry: dict[str, Any]) -> bool:
    """Whether an entry is a generator."""
    source = entry.get("source")
    inner = source if isinstance(source, dict) else entry
    if inner.get("generator") is not None:
        return True
    if isinstance(source, dict):
        source = source.get("path")
    is_scheme = isinstance(source, str) and ":" in source and source.partition(":")[0] in SCHEMES
    return is_scheme or (isinstance(source, str) and source.lower().endswith(".onnx"))


def _one_spelling(value: dict[str, Any]) -> dict[str, Any]:
    if "licence" not in value:
        return value
    if "license" in value:
        raise InvalidManifest("give 'license' or 'licence', not both")
    return {("license" if key == "licence" else key): item for key, item in value.items()}


def _name(value: Any) -> str:
    if value is None:
        raise InvalidManifest("the entry has no name", hint="add name: …")
    if not isinstance(value, str) or not value.strip():
        raise InvalidManifest(f"the name must be text that is not empty, got {shown(value)}", hint="quote it")
    return value


def _source(entry: dict[str, Any], folder: Path) -> str | dict[str, Any]:
    source, generator = entry.get("source"), entry.get("generator")
    if (source is None) == (generator is None):
        which = "neither 'source' nor 'generator'" if source is None else "both 'source' and 'generator'"
        raise InvalidManifest(f"the entry has {which}", hint="give exactly one of them")
    if generator is not None:
        return {"generator": _plain(_mapping("generator", generator), "generator")}
    if isinstance(source, dict):
        return dict(_plain(_mapping("source", source), "source"))
    if not isinstance(source, str) or not source.strip() or not is_storable(source):
        raise InvalidManifest(f"the source must be a path or a mapping, got {shown(source)}")
    if source.partition(":")[0] in SCHEMES and ":" in source:
        return source
    try:
        return str(folder / Path(source).expanduser())
    except RuntimeError as exc:  # ~nobody
        raise InvalidManifest(f"the source {shown(source)} names no home folder") from exc


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidManifest(f"{key} must be text, got {shown(value)}", hint="quote it")
    return value


def _tags(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise InvalidManifest(f"{key} must be a list of texts, got {shown(value)}", hint="quote tags such as no and 1")
    return tuple(value)


def _links(key: str, value: Any) -> dict[str, str]:
    links = _mapping(key, value)
    if not all(isinstance(link, str) for link in links.values()):
        raise InvalidManifest(f"{key} must map texts to texts, got {shown(value)}")
    return links


def _metadata(key: str, value: Any) -> dict[str, Any]:
    return dict(_plain(_mapping(key, value), key))


def _whole(least: int, key: str, value: Any) -> int:
    return checked_whole(value, key, least, error=InvalidManifest)


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidManifest(f"{key} must be true or false, got {value!r:.80}")
    return value


def _mapping(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise InvalidManifest(f"{key} must be a mapping with text keys, got {shown(value)}")
    return value


def _plain(value: dict[str, Any], key: str) -> Any:
    """A copy of JSON values alone; YAML's dates become text."""
    try:
        return json.loads(json.dumps(value, allow_nan=False, default=_date_to_text))
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidManifest(f"{key} holds something that is not JSON: {exc}") from exc


def _date_to_text(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} {value!r:.40}")


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys((*TEXTS, "encoder"), _text),
    "tags": _tags,
    "links": _links,
    "metadata": _metadata,
    "resolution": partial(_whole, 1),
    "samples": partial(_whole, 1),
    "seed": partial(_whole, 0),
    **dict.fromkeys(FLAGS, _flag),
}

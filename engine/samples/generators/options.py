"""Read a generator's options out of a manifest or a stored record, saying exactly what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.errors import InvalidManifest
from engine.numbers import checked_whole, shown
from engine.samples.protocol import Options
from engine.texts import nearest

COMMON = ("type", "batch")
MOST = 1e9
"""Of a number that is an option, seconds or a scale."""


def checked_keys(options: Options, allowed: Sequence[str]) -> None:
    """Refuse what the type does not know.

    Raises:
        InvalidManifest: a key that this type of generator does not have.
    """
    unknown = [str(key) for key in options if key not in (*COMMON, *allowed)]
    if unknown:
        raise InvalidManifest(
            f"a generator of type {options.get('type')!r} has no option {', '.join(map(repr, unknown))}",
            hint=nearest(unknown[0], (*COMMON, *allowed), f"its options are {', '.join((*allowed, 'batch'))}"),
        )


def text(options: Options, key: str) -> str | None:
    """A string that is not blank, or None if it is not given."""
    value = options.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise _wrong(options, key, "text that is not empty")
    return value


def required_text(options: Options, key: str) -> str:
    """A string that must be there."""
    value = text(options, key)
    if value is None:
        raise InvalidManifest(
            f"a generator of type {options.get('type')!r} needs the option {key!r}", hint=f"add {key}: …"
        )
    return value


def whole(options: Options, key: str, *, least: int = 1) -> int | None:
    """A whole number of at least ``least``, and at most ``engine.numbers.LARGEST``, or None."""
    value = options.get(key)
    if value is None:
        return None
    return checked_whole(value, f"the option {key!r}", least, error=InvalidManifest)


def positive(options: Options, key: str) -> float | None:
    """A number above 0 and at most ``MOST``, or None."""
    value = options.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MOST:
        raise _wrong(options, key, f"a number above 0 and at most {MOST:g}")
    return float(value)


def texts(options: Options, key: str) -> list[str] | None:
    """A list of strings, or None; a single string is a list of one."""
    value = options.get(key)
    if value is None:
        return None
    if isinstance(value, str):
        return [value]
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(item, str) for item in value):
        raise _wrong(options, key, "a list of texts")
    return list(value)


def mapping(options: Options, key: str) -> dict[str, Any]:
    """A mapping with text keys and JSON values; empty if it is not given."""
    value = options.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise _wrong(options, key, "a mapping with text keys")
    try:
        return dict(json.loads(json.dumps(value, allow_nan=False)))
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidManifest(f"the option {key!r} holds something that is not JSON: {exc}") from exc


def resolved(path: str, base: Path | None) -> Path:
    """A path as written, relative to the manifest's folder (or the working folder)."""
    return ((base or Path.cwd()) / Path(path).expanduser()).absolute()


def _wrong(options: Options, key: str, wanted: str) -> InvalidManifest:
    return InvalidManifest(f"the option {key!r} must be {wanted}, got {shown(options[key])}")

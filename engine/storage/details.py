"""The descriptive fields of a model, checked before they are stored."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from engine.errors import InvalidInput
from engine.numbers import checked_whole, shown
from engine.texts import is_line, is_storable, nearest

TEXT_LIMITS = {"kind": 64, "description": 100_000, "author": 255, "license": 255, "base_model": 255}
DETAILS = (*TEXT_LIMITS, "tags", "links", "resolution", "metadata")
NAME_LIMIT = 255
NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""The escape of a NUL character in JSON."""


def checked_name(name: Any) -> str:
    """A model's name: 1 to 255 characters of one line (``engine.texts.is_line``), without white space at its ends.

    Raises:
        InvalidInput: it is anything else.
    """
    if not isinstance(name, str) or not name or name != name.strip() or not is_line(name):
        raise InvalidInput(
            f"{shown(name)} is not a model name",
            hint="a name is printable text without line breaks or white space at its ends",
        )
    if len(name) > NAME_LIMIT:
        raise InvalidInput(f"the name {name[:40]!r}… has {len(name)} characters, {NAME_LIMIT} are allowed")
    return name


def checked_details(details: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as they will be stored.

    Raises:
        InvalidInput: an unknown field, a wrong type, or a text that is too long.
    """
    result: dict[str, Any] = {}
    if "licence" in details:
        if "license" in details:
            raise InvalidInput("give 'license' or 'licence', not both")
        details = {"license" if key == "licence" else key: value for key, value in details.items()}
    for key, value in details.items():
        if key in TEXT_LIMITS:
            result[key] = _text(key, value)
        elif key == "tags":
            result[key] = _tags(value)
        elif key == "resolution":
            result[key] = None if value is None else checked_whole(value, "resolution", 1)
        elif key in ("links", "metadata"):
            result[key] = checked_json(key, value)
        else:
            hint = nearest(str(key), (*DETAILS, "name"), f"fields are {', '.join(DETAILS)}; others go into metadata")
            raise InvalidInput(f"a model has no field {key!r:.80}", hint=hint)
    return result


def _text(key: str, value: Any) -> str | None:
    if value is None and key != "kind":
        return None
    if not isinstance(value, str) or (key == "kind" and not value.strip()):
        raise InvalidInput(f"{key} must be text, got {value!r:.200}")
    if not is_storable(value):
        raise InvalidInput(f"{key} must not have NUL characters or lone surrogates, got {value!r:.80}")
    if len(value) > TEXT_LIMITS[key]:
        raise InvalidInput(f"{key} may have up to {TEXT_LIMITS[key]} characters, got {len(value)}")
    return value


def _tags(value: Any) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple, set, frozenset)):
        raise InvalidInput(f"tags must be a list of texts, got {value!r:.200}")
    for tag in values:
        if not isinstance(tag, str) or not tag.strip() or not is_line(tag) or len(tag) > 255:
            raise InvalidInput(f"{tag!r:.300} is not a tag; tags are printable texts of up to 255 characters")
    return tuple(sorted({tag.strip() for tag in values}))


def checked_json(key: str, value: Any) -> dict[str, Any]:
    """A mapping as it will be stored and come back.

    Raises:
        InvalidInput: it is none, its keys are not texts, it is not JSON, or has a NUL character or a lone surrogate.
    """
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise InvalidInput(f"{key} must be a mapping with text keys, got {value!r:.200}")
    if key == "links" and not all(isinstance(link, str) for link in value.values()):
        raise InvalidInput(f"links must map names to addresses, got {value!r:.200}")
    try:
        text = json.dumps(dict(value), allow_nan=False, ensure_ascii=False)
        if not is_storable(text) or NUL.search(text):
            raise ValueError("a text in it has a NUL character or a lone surrogate")
        return dict(json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{key} must be JSON: {error}") from error

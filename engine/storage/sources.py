"""Whether a model's new samples come from the same source as those that it has.

Two descriptions name the same source if they name the same *place*, or have the same content digest (a file that was
moved). A place is

- the absolute path of a folder, an archive or a file of features or moments; of shards, the pattern without the
  numbers of its range, so that a set of shards may grow;
- of an ONNX decoder its path, of a program its command and folder, of a Python callable its entry, folder and options,
  of a diffusion model its path or id and its prompts: not how many samples are drawn, from which seed, or how;
- the file's name of an upload, since nobody knows where it lay;
- none for arrays, callables and generators that the caller holds in memory. These cannot be told apart.

Features or moments of another encoder may be added to a model under its name. They have a description of their own,
in ``source["statistics"]``, by the encoder's name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row

from engine.errors import DuplicateName
from engine.records import Model, Origin
from engine.storage.tables import ModelRow

Place = tuple[Any, ...]

IDENTITY = {
    "onnx": ("path",), "program": ("command", "folder"), "python": ("entry", "path", "options"),
    "diffusers": ("model", "prompts"),
}  # fmt: skip
"""What tells one generator of a type from another; the other options say how it is drawn from."""
SHARDS = re.compile(r"\{\d+\.\.\d+\}")
OTHERS = "statistics"
"""The key of a stored source under which those of other encoders' statistics stand."""
IN_MEMORY: Place = ("memory",)


def origin_to_place(origin: Origin) -> Place:
    """Where samples come from; see above."""
    source, generator = origin
    if generator is not None and generator.get("type") in IDENTITY:
        keys = IDENTITY[generator["type"]]
        if keys == ("path",):
            return ("path", os.path.normpath(str(generator.get("path"))))
        return (generator["type"], *(generator.get(key) or None for key in keys))
    if "upload" in source:
        return ("upload", source["upload"])
    if "path" in source:
        return ("path", SHARDS.sub("{}", os.path.normpath(str(source["path"]))))
    return IN_MEMORY


def is_same(one: Origin, other: Origin) -> bool:
    """Whether both are the same source: of one place, or of the same content."""
    if one.source.get("digest") is not None and one.source["digest"] == other.source.get("digest"):
        return True
    here, there = origin_to_place(one), origin_to_place(other)
    return here == there or (here[0] == there[0] == "path" and _is_same_file(here[1], there[1]))


def is_passing(place: Place) -> bool:
    """Whether samples cannot be found at a place again: the caller's memory, or an upload."""
    return place[0] in ("memory", "upload")


def is_precomputed(origin: Origin) -> bool:
    """Whether features or moments were given, not samples to encode."""
    return origin.source.get("type") in ("features", "moments")


def row_to_origin(row: ModelRow | Row[Any] | Model, encoder: str) -> Origin:
    """What a model's statistics under an encoder came from."""
    own = _mapping(_others(row).get(encoder))
    if own:
        return Origin(own)
    return Origin(_mapping(row.source), None if row.generator is None else _mapping(row.generator))


def write_origin(row: ModelRow, encoder: str, origin: Origin, *, added: bool = False) -> None:
    """Record where statistics came from. Those that were ``added`` to a model leave what it came from as it is."""
    others = _others(row)
    if added or encoder in others:
        row.source = {**_mapping(row.source), OTHERS: {**others, encoder: dict(origin.source)}}
        return
    row.source = {**origin.source, **({OTHERS: others} if others else {})}
    row.generator = None if origin.generator is None else dict(origin.generator)


def other_source(name: str, stored: Origin, given: Origin) -> DuplicateName:
    """The refusal to let a model of one source be replaced by another."""
    return DuplicateName(
        f"the model {name!r} is from another source: it was ingested from {origin_to_text(stored)}, "
        f"this is {origin_to_text(given)}",
        hint="choose another name (--name); or replace that model, with its description, tags and statistics: "
        "--replace (engine import: --on-conflict replace; from Python: replace=True; in a manifest or a request: "
        "replace: true)",
    )


def origin_to_text(origin: Origin) -> str:
    """A source, as a message names it."""
    source, generator = origin
    if generator is not None:
        said = generator.get(IDENTITY.get(generator.get("type", ""), ("name",))[0], "in memory")
        text = " ".join(map(str, said)) if isinstance(said, (list, tuple)) else str(said)
        return f"the generator {generator.get('type')}:{text:.200}"
    if "upload" in source:
        return f"the upload {source['upload']}"
    kind = source.get("type", "source")
    return f"the {kind} {source['path']}" if "path" in source else f"{kind} in memory"


def is_readable(row: ModelRow) -> bool:
    """Whether what is stored of a model's source is undamaged: else nobody knows which it was."""
    return isinstance(row.source, Mapping) and (row.generator is None or isinstance(row.generator, Mapping))


def _others(row: ModelRow | Row[Any] | Model) -> dict[str, Any]:
    return _mapping(_mapping(row.source).get(OTHERS))


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _is_same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False

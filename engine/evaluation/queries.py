"""Judged queries: what is asked, and which model should be found. JSON Lines in, checked records out."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import InvalidQuery, ModelNotFound, SourceNotFound
from engine.samples.manifest_text import jsonl_to_raw

PARTS = ("text", "image", "sketch")
"""What a query can consist of, in the order in which search takes its parts."""
QUERY_KEYS = ("model", *PARTS, "group")
EXAMPLE = 'for example {"model": "foxes", "image": "queries/fox.png"}'


@dataclass(frozen=True, eq=False)
class JudgedQuery:
    """One query and the model that should be found.

    Attributes:
        model: that model's name.
        given: the query's parts by modality, in the order of ``PARTS``; a picture as ``Engine.search`` takes it.
        group: the stratum that the query is of, e.g. ``unseen``, or None.
        place: where it stands, for messages.
    """

    model: str
    given: Mapping[str, Any]
    group: str | None
    place: str

    @property
    def modality(self) -> str:
        """``image``, or ``image+text`` for a mixed query."""
        return "+".join(sorted(self.given))


def read_queries(source: str | Path | Sequence[Mapping[str, Any]]) -> list[JudgedQuery]:
    """Judged queries of a JSON Lines file, or of a list of mappings with the same keys.

    A file's pictures are relative to its folder. In a list a picture may also be a PIL image or an array.

    Raises:
        SourceNotFound: the file, or a picture that it names, is not there.
        InvalidQuery: a line is not JSON, has an unknown key, or lacks the model or what is asked.
    """
    if not isinstance(source, (str, Path)):
        queries = [_checked(value, f"query {number}", None) for number, value in enumerate(source, 1)]
        where = "the list"
    else:
        path = Path(source)
        where = str(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SourceNotFound(
                f"the judged queries cannot be read: {error}", hint="give a file of JSON Lines: one query a line"
            ) from error
        queries = []
        for raw in jsonl_to_raw(data)[1]:
            place = f"{path.name} line {raw.line}"
            if raw.error is not None:
                raise InvalidQuery(f"{place}: {raw.error}", hint=f"each line is one JSON object, {EXAMPLE}")
            queries.append(_checked(raw.value, place, path.parent))
    if not queries:
        raise InvalidQuery(f"there are no judged queries in {where}", hint=f"write one a line, {EXAMPLE}")
    return queries


def check_models(queries: Sequence[JudgedQuery], known: Collection[str]) -> None:
    """Every query's model is one of the collection.

    Raises:
        ModelNotFound: naming the first that is not, and how many there are.
    """
    strange = [query for query in queries if query.model not in known]
    if strange:
        first = strange[0]
        near = difflib.get_close_matches(first.model, known, n=3)
        more = f" ({len(strange)} such queries)" if len(strange) > 1 else ""
        raise ModelNotFound(
            f"{first.place}: the collection has no model named {first.model!r}{more}",
            hint=f"did you mean {', '.join(near)}?" if near else "`engine list` shows the names; or leave the line out",
        )


def _checked(value: Any, place: str, folder: Path | None) -> JudgedQuery:
    if not isinstance(value, Mapping):
        raise InvalidQuery(f"{place}: a query is a JSON object, got {type(value).__name__}", hint=EXAMPLE)
    unknown = [str(key) for key in value if key not in QUERY_KEYS]
    if unknown:
        raise InvalidQuery(
            f"{place}: unknown key {', '.join(map(repr, unknown))}",
            hint=f"keys are {', '.join(QUERY_KEYS)}; remove the others",
        )
    model = value.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidQuery(
            f"{place}: 'model' must be the name of the model to be found, got {model!r:.80}", hint=EXAMPLE
        )
    group = value.get("group")
    if group is not None and (not isinstance(group, str) or not group.strip()):
        raise InvalidQuery(
            f"{place}: 'group' must be text that is not empty, got {group!r:.80}",
            hint="for example unseen; or leave it out",
        )
    given = {part: value[part] for part in PARTS if value.get(part) is not None}
    if not given:
        raise InvalidQuery(f"{place}: nothing is asked", hint=f"give one or more of {', '.join(PARTS)}")
    for part in given:
        given[part] = _text(given[part], place) if part == "text" else _picture(given[part], part, place, folder)
    return JudgedQuery(model, given, group, place)


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidQuery(
            f"{place}: 'text' must be text that is not empty, got {value!r:.80}",
            hint="say what is drawn, or leave it out",
        )
    return value


def _picture(value: Any, part: str, place: str, folder: Path | None) -> Any:
    if not isinstance(value, (str, Path)):
        if folder is not None:
            raise InvalidQuery(f"{place}: {part!r} must be a path, got {value!r:.80}", hint="quote the path")
        return value
    path = Path(value) if folder is None else folder / value
    try:
        there = path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        there = False
    if not there:
        raise SourceNotFound(
            f"{place}: there is no {part} {str(path)!r:.200}",
            hint="paths are relative to the file of queries" if folder is not None else "check the path",
        )
    return path

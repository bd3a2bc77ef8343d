"""Judged queries: what is asked, and which models are right. JSON Lines in, checked records out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from engine.errors import InvalidQuery, ModelNotFound, SourceNotFound
from engine.files import checked_path
from engine.samples.manifest_text import jsonl_to_raw
from engine.texts import is_storable, nearest, suggestion

PARTS = ("text", "image", "sketch")
"""What a query can consist of, in the order in which search takes its parts."""
QUERY_KEYS = ("model", "models", *PARTS, "group", "concept")
EXAMPLE = 'for example {"model": "foxes", "image": "queries/fox.png"}'


@dataclass(frozen=True, eq=False)
class JudgedQuery:
    """One query and the models of which one should be found.

    Attributes:
        models: the names of the right models, one or more, each once.
        given: the query's parts by modality, in the order of ``PARTS``; a picture as ``Engine.search`` takes it.
        group: the stratum that the query is of, e.g. ``unseen``, or None.
        concept: what intervals draw it together with, or None: the queries of the same models.
        place: where it stands, for messages.
    """

    models: tuple[str, ...]
    given: Mapping[str, Any]
    group: str | None
    concept: str | None
    place: str

    @property
    def modality(self) -> str:
        """``image``, or ``image+text`` for a mixed query."""
        return "+".join(sorted(self.given))

    @property
    def owner(self) -> tuple[str, ...]:
        """Equal for queries that intervals draw together: the concept, else the sorted names of the right models."""
        return tuple(sorted(self.models)) if self.concept is None else (self.concept,)


def read_queries(source: str | Path | Sequence[Mapping[str, Any]]) -> list[JudgedQuery]:
    """Judged queries of a JSON Lines file, or of a list of mappings with the same keys.

    A file's pictures are relative to its folder. In a list a picture may also be a PIL image or an array.

    Raises:
        SourceNotFound: the file, or a picture that it names, is not there.
        InvalidQuery: a line is not JSON, has an unknown key, or lacks the models or what is asked.
    """
    if not isinstance(source, (str, Path)):
        queries = [_checked(value, f"query {number}", None) for number, value in enumerate(source, 1)]
        where = "the list"
    else:
        path = checked_path(source)
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
    """Every query's models are of the collection.

    Raises:
        ModelNotFound: naming the first that is not, and how many such queries there are.
    """
    strange = [(query, name) for query in queries for name in query.models if name not in known]
    if strange:
        first, unknown = strange[0]
        lines = len({query.place for query, _ in strange})
        more = f" ({lines} such queries)" if lines > 1 else ""
        raise ModelNotFound(
            f"{first.place}: the collection has no model named {unknown!r}{more}",
            hint=suggestion(unknown, known, "`engine list` shows the names; or leave the line out", most=3),
        )


def _checked(value: Any, place: str, folder: Path | None) -> JudgedQuery:
    if not isinstance(value, Mapping):
        raise InvalidQuery(f"{place}: a query is a JSON object, got {type(value).__name__}", hint=EXAMPLE)
    unknown = [str(key) for key in value if key not in QUERY_KEYS]
    if unknown:
        raise InvalidQuery(
            f"{place}: unknown key {', '.join(map(repr, unknown))}",
            hint=nearest(unknown[0], QUERY_KEYS, f"keys are {', '.join(QUERY_KEYS)}; remove the others"),
        )
    models = _models(value, place)
    group, concept = (_label(value.get(key), key, place) for key in ("group", "concept"))
    given = {part: value[part] for part in PARTS if value.get(part) is not None}
    if not given:
        raise InvalidQuery(f"{place}: nothing is asked", hint=f"give one or more of {', '.join(PARTS)}")
    for part in given:
        given[part] = _text(given[part], place) if part == "text" else _picture(given[part], part, place, folder)
    return JudgedQuery(models, given, group, concept, place)


def _models(value: Mapping[str, Any], place: str) -> tuple[str, ...]:
    """The names of the right models: ``model``, or all of ``models``."""
    one, several = value.get("model"), value.get("models")
    if several is None:
        if not isinstance(one, str) or not one:
            raise InvalidQuery(
                f"{place}: 'model' must be the name of the model to be found, got {one!r:.80}", hint=EXAMPLE
            )
        return (one,)
    if one is not None:
        raise InvalidQuery(
            f"{place}: there are both 'model' and 'models'",
            hint="name every right model in 'models', or one in 'model'",
        )
    if not isinstance(several, (list, tuple)) or not several or not all(isinstance(n, str) and n for n in several):
        raise InvalidQuery(
            f"{place}: 'models' must be a list of one or more names of models, got {several!r:.80}",
            hint='for example "models": ["foxes", "red-foxes"]',
        )
    twice = next((name for i, name in enumerate(several) if name in several[:i]), None)
    if twice is not None:
        raise InvalidQuery(f"{place}: 'models' names {twice!r} twice", hint="name each model once")
    return tuple(several)


def _is_said(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip()) and is_storable(value)


def _label(value: Any, key: str, place: str) -> str | None:
    if value is not None and not _is_said(value):
        raise InvalidQuery(
            f"{place}: {key!r} must be text that is not empty and has no lone surrogates, got {value!r:.80}",
            hint=f"for example {'unseen' if key == 'group' else 'foxes'}; or leave it out",
        )
    return value


def _text(value: Any, place: str) -> str:
    if not _is_said(value):
        raise InvalidQuery(
            f"{place}: 'text' must be text that is not empty and has no lone surrogates, got {value!r:.80}",
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

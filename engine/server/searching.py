"""Search requests to ``Engine`` calls, and answers to their shape."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from engine import Engine
from engine.errors import InvalidFeatures, InvalidImage
from engine.filters import check_size, where_to_filters
from engine.numbers import shown
from engine.options import NAMES
from engine.records import Hits, Part
from engine.search.rules import PICTURES
from engine.server.encoders import check_encoder
from engine.server.json_bodies import JSON
from engine.server.limits import Limits
from engine.server.problems import Refused
from engine.server.schemas import Part as QueryPart
from engine.server.schemas import Query
from engine.shapes import hits_to_json

FORM = "multipart/form-data"


async def request_to_parts(request: Request) -> tuple[str | bytes, dict[str, bytes]]:
    """A search of either kind: its JSON, not parsed yet, and uploaded pictures.

    A form's member ``query`` is what is the whole body otherwise.

    Raises:
        Refused
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == FORM:
        async with request.form(max_files=2, max_fields=1) as form:
            return await _form_to_parts(form)
    if kind not in (JSON, ""):
        raise Refused(415, "UnsupportedMediaType", f"a search is {JSON} or {FORM}, got {kind!r:.80}")
    return await request.body(), {}


async def _form_to_parts(form: FormData) -> tuple[str, dict[str, bytes]]:
    unknown = set(form) - {"query", "image", "sketch"}
    if unknown:
        raise Refused(422, "InvalidRequest", f"a form has query, image and sketch, got {', '.join(sorted(unknown))}")
    text = form.get("query", "{}")
    if not isinstance(text, str):
        raise Refused(422, "InvalidRequest", "query is JSON text, not a file")
    pictures = {}
    for modality in ("image", "sketch"):
        value = form.get(modality)
        if isinstance(value, UploadFile):
            pictures[modality] = await value.read()
        elif value is not None:
            raise Refused(422, "InvalidRequest", f"{modality} is an uploaded file", hint="paths are never opened")
    return text, pictures


def check_batch(queries: Sequence[Query], limits: Limits) -> None:
    """Whether several searches are little enough work for one request, all together.

    Raises:
        Refused: beyond a limit.
        InvalidFilter: one that is none, or all of them have too many values.
    """
    if len(queries) > limits.batch:
        raise Refused(422, "LimitExceeded", f"a batch may have {limits.batch} queries, got {len(queries)}")
    for what, most, count in (
        ("answers", limits.batch_answers, sum(query.k + query.offset for query in queries)),
        ("candidates on its shortlists", limits.shortlist, sum(query.shortlist or 0 for query in queries)),
    ):
        if count > most:
            raise Refused(422, "LimitExceeded", f"a batch may have {most} {what} in all, got {shown(count)}")
    check_size([one for query in queries for one in where_to_filters(query.where)])


def answered(engine: Engine, limits: Limits, query: Query, pictures: dict[str, bytes]) -> dict[str, Any]:
    """The answer to one query.

    Raises:
        Refused: beyond a limit.
        EngineError
    """
    count = query.k + query.offset
    if count > limits.k:
        raise Refused(422, "LimitExceeded", f"k + offset is at most {limits.k}, got {shown(count)}")
    if query.shortlist is not None and query.shortlist > limits.shortlist:
        raise Refused(
            422, "LimitExceeded", f"shortlist is at most {limits.shortlist}, got {shown(query.shortlist)}"
        )  # fmt: skip
    texts = [query.text or "", *(part.value for part in query.parts if part.modality == "text")]
    longest = max(map(len, texts))
    if longest > limits.text_characters:
        raise Refused(422, "LimitExceeded", f"a text may have {limits.text_characters} characters, got {longest}")
    query.encoder = check_encoder(engine, query.encoder)
    if query.vector is not None:
        found = _by_vector(engine, query, count, pictures)
    else:
        found = _by_parts(engine, query, count, pictures)
    found["hits"] = found["hits"][query.offset :]
    return found


def _by_parts(engine: Engine, query: Query, count: int, pictures: dict[str, bytes]) -> dict[str, Any]:
    given = dict(pictures)
    for modality in ("image", "sketch"):
        encoded = getattr(query, modality)
        if encoded is not None and modality in given:
            raise Refused(422, "InvalidRequest", f"{modality} is given twice, as a file and in the query")
        if encoded is not None:
            given[modality] = base64_to_bytes(encoded, modality)
    hits = engine.search(
        text=query.text,
        image=given.get("image"),
        sketch=given.get("sketch"),
        model=query.model,
        parts=[Part(one.modality, _part_to_value(one), one.weight, one.name) for one in query.parts],
        weights=query.weights,
        k=count,
        **query.model_dump(include=OPTIONS),
    )
    return hits_to_json(hits)


OPTIONS = {*NAMES} - {"k"}
"""Members of a query that are ``SearchOptions`` as they are."""


def _part_to_value(part: QueryPart) -> str | bytes:
    return base64_to_bytes(part.value, part.modality) if part.modality in PICTURES else part.value


def _by_vector(engine: Engine, query: Query, count: int, pictures: dict[str, bytes]) -> dict[str, Any]:
    others = [name for name in ("text", "image", "sketch", "model", "parts") if getattr(query, name)]
    if others or pictures:
        raise Refused(422, "InvalidRequest", f"a vector is asked alone, got {', '.join([*others, *pictures])} besides")
    vector = np.asarray(query.vector, np.float64)
    if not vector.size:
        raise InvalidFeatures("the vector is empty")
    method = "first_moment" if query.method == "auto" else query.method
    started = perf_counter()
    scores, ids = engine.search_vectors(
        vector, count, method, encoder=query.encoder, where=query.where, shortlist=query.shortlist,
        modality=query.modality, transform=None if query.transform == "auto" else query.transform, recall=query.recall,
        shortlist_space=query.shortlist_space,
    )  # fmt: skip
    searched = perf_counter()
    hits = engine.records(ids, scores)
    ended = perf_counter()
    timings = {"search": 1e3 * (searched - started), "records": 1e3 * (ended - searched)}
    timings["total"] = 1e3 * (ended - started)
    return hits_to_json(Hits(hits, method=method, timings_ms=timings, remarks=engine.remarks(query.where)))


def base64_to_bytes(text: str, what: str) -> bytes:
    """Bytes of base64, also as a ``data:`` URL.

    Raises:
        InvalidImage: it is neither.
    """
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise InvalidImage(f"{what} is a data: URL without base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidImage(
            f"{what} is not base64: {error}", hint="paths and URLs are never opened: send the picture itself"
        ) from error

"""What templates show: one call of ``Engine`` or a few, made into plain values."""

from __future__ import annotations

from math import isnan
from time import perf_counter
from typing import Any

from engine import Engine
from engine.errors import EngineError, InvalidQuery
from engine.records import Hits
from engine.server.encoders import encoder_to_told
from engine.server.limits import Limits
from engine.server.page.cards import hits_to_cards, model_to_card
from engine.server.page.pictures import Pictures
from engine.server.page.query_url import Asked
from engine.server.page.render import kind_to_colour
from engine.server.places import told
from engine.shapes import hits_to_json

SIMILAR = 12


def answer_context(engine: Engine, limits: Limits, pictures: Pictures, asked: Asked) -> dict[str, Any]:
    """The answers to a query, or every model where nothing is asked for but a filter.

    Raises:
        EngineError
    """
    if len(asked.words) > limits.text_characters:
        raise InvalidQuery(f"a text may have {limits.text_characters} characters, got {len(asked.words)}")
    count = min(asked.count, limits.k)
    started = perf_counter()
    if not asked.parts:
        found = engine.page(asked.where, limit=min(count, limits.page) + 1)
        listed = found.models
        cards = [model_to_card(model) for model in listed[:count]]
        more = asked.more().url() if len(listed) > count else None
        took = 1e3 * (perf_counter() - started)
        return {
            "cards": cards, "more": more, "timings": {}, "took": took, "method": None, "shortlist": None,
            "remarks": found.remarks,
        }  # fmt: skip
    hits = engine.search(
        text=asked.words or None,
        image=None if asked.image is None else pictures.read(asked.image),
        sketch=None if asked.sketch is None else pictures.read(asked.sketch),
        model=asked.model, k=count, method=asked.method, weights=asked.weights or None, where=asked.where,
    )  # fmt: skip
    said = hits_to_json(hits)
    more = asked.more().url() if len(hits) == count < limits.k else None
    timings = said["timings_ms"]
    return {
        "cards": hits_to_cards(hits), "more": more, "timings": timings, "took": timings["total"],
        "method": hits.method, "shortlist": hits.shortlist, "remarks": hits.remarks,
    }  # fmt: skip


def model_context(engine: Engine, name: str, distance: str, code: bool) -> dict[str, Any]:
    """All of one model, and those like it.

    Raises:
        ModelNotFound
    """
    found = engine.get(name)
    try:
        similar: Hits | None = engine.similar(name, SIMILAR, distance=distance)
        why = None
    except EngineError as error:  # the model has no covariance, say: the rest of it is there
        similar, why = None, told(error, engine.places)[0]
    cards = [] if similar is None else hits_to_cards(similar)
    return {
        "model": found, "encoders": list(map(encoder_to_told, found.encoders)),
        "card": model_to_card(found), "previews": len(engine.thumbnails(found.id)), "similar": cards,
        "distance": distance, "why": why, "draws": engine.may_draw(found, code=code),
    }  # fmt: skip


def compare_context(engine: Engine, names: list[str], encoder: str | None) -> dict[str, Any]:
    """Models side by side, and how far they are from one another.

    Raises:
        ModelNotFound
    """
    models = [engine.get(name) for name in names]
    shared = set.intersection(*(set(model.tags) for model in models)) if models else set()
    distances, why = {}, None
    if len(models) > 1:
        try:
            distances = engine.distances(names, encoder=encoder)
        except EngineError as error:
            why = told(error, engine.places)[0]
    pairs = [
        {
            "a": models[i].name, "b": models[j].name,
            **{kind: None if isnan(values[i, j]) else float(values[i, j]) for kind, values in distances.items()},
        }
        for i in range(len(models)) for j in range(i + 1, len(models)) if distances
    ]  # fmt: skip
    cards = [model_to_card(model) for model in models]
    return {"cards": cards, "shared": shared, "pairs": pairs, "why": why, "names": names}


def map_columns(engine: Engine) -> dict[str, Any]:
    """What the map draws: a column for each kind of value, a row for each model."""
    labels, found = engine.labels(), engine.map()
    rows = [(i, point) for i, point in zip(found.ids.tolist(), found.points.tolist(), strict=True) if i in labels]
    kinds: dict[str, int] = {}
    tags: dict[str, int] = {}
    return {
        "method": found.method,
        "ids": [i for i, _ in rows],
        "names": [labels[i].name for i, _ in rows],
        "x": [round(point[0], 5) for _, point in rows],
        "y": [round(point[1], 5) for _, point in rows],
        "kind": [kinds.setdefault(labels[i].kind, len(kinds)) for i, _ in rows],
        "tags": [[tags.setdefault(tag, len(tags)) for tag in labels[i].tags] for i, _ in rows],
        "kinds": list(kinds),
        "kindColours": [kind_to_colour(kind) for kind in kinds],
        "allTags": list(tags),
    }

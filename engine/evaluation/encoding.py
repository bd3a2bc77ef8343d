"""Judged queries to encoded parts: each picture and text once, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.encoders.protocol import Encoder, image_to_prepared
from engine.errors import EngineError, InvalidQuery
from engine.evaluation.progress import OnProgress, silent
from engine.evaluation.queries import PARTS, JudgedQuery
from engine.records import EncoderIdentity, QueryPart
from engine.samples import any_to_image, one_picture
from engine.statistics import checked_features

BATCH = 64


def queries_to_parts(
    queries: Sequence[JudgedQuery],
    identity: EncoderIdentity,
    encoder: Callable[[], Encoder],
    max_pixels: int,
    on_progress: OnProgress = silent,
) -> tuple[list[list[QueryPart]], NDArray[np.float64]]:
    """Each query's parts in the order of ``PARTS``, and what encoding each query took ``(q,)`` in milliseconds.

    A query's time is its share of its batches': reading and decoding the picture, and the encoder.

    Raises:
        InvalidQuery: there are texts and the encoder takes none.
        InvalidImage: naming the query.
    """
    loaded = encoder()  # loading is not encoding
    parts: list[list[QueryPart]] = [[] for _ in queries]
    took = np.zeros(len(queries))
    total = sum(len(query.given) for query in queries)
    done = 0
    for modality in PARTS:
        places = [i for i, query in enumerate(queries) if modality in query.given]
        if modality == "text" and places and "text" not in identity.modalities:
            raise InvalidQuery(
                f"{queries[places[0]].place}: the encoder {identity.name!r} is image-only and takes no text",
                hint="leave texts out, or name an image-text encoder with which the models were ingested",
            )
        for start in range(0, len(places), BATCH):
            block = places[start : start + BATCH]
            started = perf_counter()
            features = _features(loaded, modality, [queries[i] for i in block], identity.dimension, max_pixels)
            took[block] += 1e3 * (perf_counter() - started) / len(block)
            for i, feature in zip(block, features, strict=True):
                parts[i].append(QueryPart(modality, feature))
            done += len(block)
            on_progress("encoding", done, total)
    return parts, took


def _features(
    encoder: Encoder, modality: str, queries: Sequence[JudgedQuery], dimension: int, max_pixels: int
) -> NDArray[np.float32]:
    """``(n, d)`` float32 of unit norm."""
    if modality == "text":
        features = encoder.texts_to_features([query.given[modality] for query in queries])
    else:  # decoded one at a time: a block of large pictures need not fit into memory
        prepared = [_prepared(encoder, query.given[modality], query.place, max_pixels) for query in queries]
        features = encoder.prepared_to_features(np.stack(prepared))
    return checked_features(features, dimension=dimension)


def _prepared(encoder: Encoder, value: Any, place: str, max_pixels: int) -> NDArray[np.float32]:
    try:
        with one_picture():
            return image_to_prepared(encoder, any_to_image(value, max_pixels=max_pixels))
    except EngineError as error:
        raise type(error)(f"{place}: {error.message}", hint=error.hint) from error

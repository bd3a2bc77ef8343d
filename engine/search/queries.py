"""What a caller asks, checked and encoded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.encoders.protocol import Encoder, image_to_prepared
from engine.errors import InvalidFeatures, InvalidQuery, MissingStatistics
from engine.numbers import checked_number, checked_whole, shown
from engine.records import EncoderIdentity, QueryPart
from engine.samples import any_to_image, one_picture
from engine.search.rules import MODALITIES
from engine.statistics import checked_features
from engine.texts import is_storable

ORDINARY = (1e-200, 1e200)
"""Squared lengths that have lost nothing to rounding."""
ROUNDED = float(np.finfo(np.float32).eps)
"""The squared length of a vector of unit norm is at most so far from 1 once it is rounded to float32."""
LIGHTEST, HEAVIEST = 1e-9, 1e9
"""Weights: scores, and the query that the index is asked, stay far within float32."""
MOST_ANSWERS = 10**7
"""Room is made for as many answers as are asked for, whether there are so many models or not: 120 MB a query."""


def checked_weights(weights: Mapping[str, float] | None, modalities: Sequence[str]) -> dict[str, float]:
    """A weight for each part, 1 unless given.

    Raises:
        InvalidQuery: a weight for a part that is not there, or one that is not a number from 1e-9 to 1e9.
    """
    result = dict.fromkeys(modalities, 1.0)
    if weights is not None and not isinstance(weights, Mapping):
        raise InvalidQuery(f"weights must map parts to numbers, got {weights!r}", hint='for example {"image": 2}')
    for modality, weight in (weights or {}).items():
        if modality not in result:
            raise InvalidQuery(
                f"there is a weight for {modality!r} but no such part in the query",
                hint=f"this query has {', '.join(modalities)}; parts are {', '.join(MODALITIES)}",
            )
        result[modality] = checked_number(weight, f"the weight of {modality}", LIGHTEST, HEAVIEST, error=InvalidQuery)
    return result


def checked_k(k: Any) -> int:
    """How many answers are wanted.

    Raises:
        InvalidQuery: not a whole number from 1 to ``MOST_ANSWERS``.
    """
    return checked_whole(k, "k", 1, MOST_ANSWERS, error=InvalidQuery)


def checked_recall(recall: Any, default: float) -> float:
    """The share of the best that should be found, ``default`` for None.

    Raises:
        InvalidQuery: not a number above 0 and at most 1.
    """
    if recall is None:
        return default
    if isinstance(recall, bool) or not isinstance(recall, (int, float)) or not 0 < recall <= 1:
        raise InvalidQuery(f"recall must be a number above 0 and at most 1, got {shown(recall)}", hint="1 means exact")
    return float(recall)


def checked_text(value: Any, what: str) -> str:
    """A name that was given: of a method, an encoder, a modality, a transform or a space.

    Raises:
        InvalidQuery: it is no text.
    """
    if not isinstance(value, str) or not is_storable(value):
        raise InvalidQuery(f"the {what} is named by a text without NUL and lone surrogates, got {value!r:.80}")
    return value


def checked_shortlist(shortlist: Any) -> int | None:
    """How many candidates the exact stage looks at, None for the default.

    Raises:
        InvalidQuery: neither None nor a whole number from 1 to ``MOST_ANSWERS``.
    """
    return None if shortlist is None else checked_whole(shortlist, "the shortlist", 1, MOST_ANSWERS, error=InvalidQuery)


def checked_vectors(queries: Any, dimension: int) -> NDArray[np.float32]:
    """Query vectors ``(d,)`` or ``(n, d)``, of NumPy or torch, to C-contiguous ``(n, d)`` float32 of unit norm.

    Raises:
        InvalidFeatures: a wrong shape or dtype, a NaN, an infinity, or a zero vector.
    """
    if hasattr(queries, "detach"):  # torch's: from any device, and of dtypes that NumPy lacks
        queries = queries.detach()
        queries = (queries.float() if queries.is_floating_point() else queries).cpu().numpy()
    try:
        array = np.asarray(queries)
    except ValueError as error:
        raise InvalidFeatures(f"a query is not an array: {error}") from error
    if array.ndim not in (1, 2) or array.dtype.kind != "f" or array.shape[-1] != dimension:
        raise InvalidFeatures(
            f"a query is a floating array of shape ({dimension},) or (n, {dimension}), "
            f"got {array.dtype} of shape {array.shape}",
            hint="encode it with the collection's encoder",
        )
    if array.ndim == 1:  # the case that is worth a few microseconds
        wide = array.astype(np.float64)
        square = float(np.vdot(wide, wide))  # which, unlike ``@``, never warns: what overflows is looked at below
        if abs(square - 1) <= ROUNDED and array.dtype == np.float32 and array.flags.carray:
            return array[None]  # of unit norm as it is: an encoder's feature, say
        if ORDINARY[0] < square < ORDINARY[1]:
            wide /= math.sqrt(square)
            return wide.astype(np.float32)[None]
    rows = np.atleast_2d(array).astype(np.float64)
    largest = np.abs(rows).max(axis=1, keepdims=True)  # divided out first: squares must neither overflow nor vanish
    bad = np.flatnonzero(~np.isfinite(largest) | (largest == 0))
    if bad.size:
        raise InvalidFeatures(f"query {bad[0]} is zero, or has a NaN or an infinity")
    rows /= largest
    rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return np.ascontiguousarray(rows, np.float32)


def query_to_parts(
    given: Mapping[str, Any],
    weights: Mapping[str, float],
    identity: EncoderIdentity,
    mean_of: Callable[[str], tuple[int, NDArray[np.float32]]],
    encoder: Callable[[], Encoder],
    max_pixels: int,
) -> list[QueryPart]:
    """Encode each part of a query. The encoder is loaded only if a part needs it.

    ``mean_of`` gives a model's id and its unit-norm mean ``(d,)``, NaN if it has none.

    Raises:
        InvalidQuery: an empty text, or a modality that the encoder does not have.
        InvalidImage, ModelNotFound, MissingStatistics
    """
    parts = []
    for modality, value in given.items():
        if modality == "model":
            parts.append(_model_part(value, weights[modality], identity, mean_of))
            continue
        if modality == "text":
            feature = _text_feature(value, identity, encoder)
        else:
            feature = _picture_feature(value, encoder(), max_pixels)
        feature = checked_features(feature, dimension=identity.dimension)
        parts.append(QueryPart(modality, feature[0], weights[modality]))
    return parts


def _picture_feature(value: Any, encoder: Encoder, max_pixels: int) -> NDArray[np.float32]:
    with one_picture():
        prepared = image_to_prepared(encoder, any_to_image(value, max_pixels=max_pixels))
    return encoder.prepared_to_features(prepared[None])


def _text_feature(text: Any, identity: EncoderIdentity, encoder: Callable[[], Encoder]) -> NDArray[np.float32]:
    if not isinstance(text, str) or not text.strip():
        raise InvalidQuery(f"a text query must be text that is not empty, got {text!r:.80}")
    if not is_storable(text):
        raise InvalidQuery(
            f"a text query cannot have NUL characters or lone surrogates, got {text!r:.80}",
            hint="are these bytes of another encoding? give the text in UTF-8",
        )
    if not identity.modalities:  # features made elsewhere: loading it says so
        encoder()
    if "text" not in identity.modalities:
        raise InvalidQuery(
            f"the encoder {identity.name!r} is image-only and cannot answer a text query",
            hint="search by image, sketch or model, or ingest with an image-text encoder",
        )
    return encoder().texts_to_features([text])


def _model_part(
    name: Any,
    weight: float,
    identity: EncoderIdentity,
    mean_of: Callable[[str], tuple[int, NDArray[np.float32]]],
) -> QueryPart:
    if not isinstance(name, str):
        raise InvalidQuery(f"a model query is a model's name, got {name!r}")
    model_id, mean = mean_of(name)
    if not np.isfinite(mean).all():
        raise MissingStatistics(
            f"{name!r} has no usable statistics of {identity.name}", hint="ingest it with that encoder"
        )
    return QueryPart("model", mean, weight, model_id)

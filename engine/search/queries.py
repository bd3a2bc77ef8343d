"""What a caller asks, checked and encoded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.encoders.protocol import Encoder, image_to_prepared
from engine.errors import InvalidFeatures, InvalidQuery, MissingStatistics
from engine.numbers import checked_number
from engine.options import checked_text
from engine.records import EncoderIdentity, Part, QueryPart
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


def given_to_parts(
    given: Mapping[str, Any], parts: Sequence[Part], weights: Mapping[str, float] | None
) -> tuple[Part, ...]:
    """A query's parts, each with a name and a weight.

    Args:
        given: a value by modality, None for none; several texts may be given in a list.
        parts: further parts.
        weights: by the parts' names.

    Raises:
        InvalidQuery: no part, an unknown modality, two parts of one name, a weight without a part, or one that is not
            a number from 1e-9 to 1e9.
    """
    found = [Part(modality, one) for modality, value in given.items() if value is not None
             for one in (value if modality == "text" and isinstance(value, (list, tuple)) else [value])]  # fmt: skip
    if not isinstance(parts, Sequence) or not all(isinstance(one, Part) for one in parts):
        raise InvalidQuery(
            f"parts must be a list of Part, got {parts!r:.80}", hint='for example [Part("text", "a fox")]'
        )
    found += parts
    if not found:
        raise InvalidQuery("there is no query", hint="give a text, an image, a sketch, a model, or several")
    named = _named(found)
    if weights is not None and not isinstance(weights, Mapping):
        raise InvalidQuery(f"weights must map parts to numbers, got {weights!r}", hint='for example {"image": 2}')
    names = [part.name for part in named]
    for name in weights or {}:
        if name not in names:
            raise InvalidQuery(
                f"there is a weight for {name!r} but no such part in the query",
                hint=f"this query has {', '.join(map(str, names))}; parts are {', '.join(MODALITIES)}",
            )
    return tuple(
        replace(
            part,
            weight=checked_number(
                (weights or {}).get(str(part.name), part.weight), f"the weight of {part.name}", LIGHTEST, HEAVIEST,
                error=InvalidQuery,
            ),
        )
        for part in named
    )  # fmt: skip


def _named(parts: Sequence[Part]) -> list[Part]:
    """Each part with its name: one that was given, or its modality, numbered where that is taken."""
    taken: set[str] = set()
    for part in parts:
        if part.modality not in MODALITIES:
            raise InvalidQuery(f"unknown modality {part.modality!r:.80}", hint=f"parts are {', '.join(MODALITIES)}")
        if part.name is not None:
            if checked_text(part.name, "part") in taken:
                raise InvalidQuery(f"two parts of the query are called {part.name!r}", hint="give each another name")
            taken.add(part.name)
    named = []
    for part in parts:
        name = part.name
        if name is None:
            numbered = (f"{part.modality}_{number}" for number in count(2))
            name = next(one for one in chain([part.modality], numbered) if one not in taken)
            taken.add(name)
        named.append(replace(part, name=name))
    return named


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


def encode_parts(
    parts: Sequence[Part],
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
    encoded = []
    for part in parts:
        model_id = None
        if part.modality == "model":
            model_id, feature = _model_mean(part.value, identity, mean_of)
        else:
            if part.modality == "text":
                rows = _text_feature(part.value, identity, encoder)
            else:
                rows = _picture_feature(part.value, encoder(), max_pixels)
            feature = checked_features(rows, dimension=identity.dimension)[0]
        encoded.append(QueryPart(part.modality, feature, part.weight, model_id, part.name or part.modality))
    return encoded


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


def _model_mean(
    name: Any, identity: EncoderIdentity, mean_of: Callable[[str], tuple[int, NDArray[np.float32]]]
) -> tuple[int, NDArray[np.float32]]:
    if not isinstance(name, str):
        raise InvalidQuery(f"a model query is a model's name, got {name!r}")
    model_id, mean = mean_of(name)
    if not np.isfinite(mean).all():
        raise MissingStatistics(
            f"{name!r} has no usable statistics of {identity.name}", hint="ingest it with that encoder"
        )
    return model_id, mean

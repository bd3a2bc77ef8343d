"""Whatever is asked: an answer that holds, or one of the engine's own errors that can be printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine import Engine
from engine.config import Settings
from engine.errors import EngineError, InvalidFeatures, InvalidQuery
from engine.options import MOST_ANSWERS

D, N = 8, 12
often = settings(derandomize=True, max_examples=60, deadline=None)

texts = st.one_of(
    st.text(st.characters(), max_size=20),  # surrogates, too
    st.sampled_from(
        ["", " ", "\0", "\ud800", "m1", "m1\0", "even", "\u202e", "x" * 100_000, "'; DROP TABLE models; --"]
    ),
)
numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([10**400, -(10**400), 2**63, 2**31, MOST_ANSWERS + 1]))
scalars = st.one_of(st.none(), st.booleans(), numbers, texts, st.binary(max_size=5))
anything = st.recursive(scalars, lambda some: st.lists(some, max_size=3) | st.dictionaries(texts, some, max_size=3))
vectors = st.one_of(
    arrays.arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.bool_, np.complex128, object, "U3", "S3"]),
        st.sampled_from([(D,), (1, D), (3, D), (0, D), (D, 0), (), (D + 1,), (2, 2, D)]),
        fill=st.nothing(),
    ),
    anything,
)


@pytest.fixture(scope="module")
def eng(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A collection of twelve models with covariances."""
    url = f"sqlite:///{tmp_path_factory.mktemp('asked') / 'zoo.db'}"
    means = np.random.default_rng(1).normal(size=(N, D)).astype(np.float32)
    with Engine.open(url, create=True, encoder="external:x", settings=Settings(refresh_interval=0)) as opened:
        opened.ingest_statistics(
            [f"m{i}" for i in range(N)], means, np.stack([np.eye(D, dtype=np.float32)] * N),
            encoder="external:x", samples=50, tags=[["even"] if i % 2 == 0 else ["odd"] for i in range(N)],
        )  # fmt: skip
        yield opened


def answer_or_error(ask: Callable[[], Any]) -> Any:
    """The answer, or None for one of our errors, which must have words that every terminal and log can take."""
    try:
        return ask()
    except EngineError as error:
        said = error
    assert said.message.strip()
    assert f"{said.message}{said.hint or ''}".encode()
    return None


@often
@given(where=st.one_of(anything, st.dictionaries(st.sampled_from(["tag", "name!", "kind", "license!"]), anything)))
def test_any_filter(eng: Engine, where: Any) -> None:
    every = {model.name for model in eng.models()}
    found = answer_or_error(lambda: eng.models(where))
    assert found is None or {model.name for model in found} <= every
    assert len(eng.models()) == N


@often
@given(tags=st.lists(st.sampled_from(["even", "odd", "no", "Even"]), min_size=1, max_size=4), negated=st.booleans())
def test_a_filter_and_its_negation_partition_the_models(eng: Engine, tags: list[str], negated: bool) -> None:
    asked = {model.name for model in eng.models({"tag!" if negated else "tag": tags})}
    others = {model.name for model in eng.models({"tag" if negated else "tag!": tags})}
    assert asked.isdisjoint(others)
    assert len(asked | others) == N


QUESTION = {
    "k": numbers | scalars, "recall": numbers | scalars, "weights": anything, "where": anything, "method": anything,
    "shortlist": numbers | scalars, "transform": anything, "shortlist_space": anything, "encoder": anything,
    "text": texts, "model": st.just("m1") | anything,
}  # fmt: skip


@pytest.mark.parametrize("key", sorted(QUESTION))
@settings(often, max_examples=25)
@given(data=st.data())
def test_any_value_of_a_search(eng: Engine, key: str, data: st.DataObject) -> None:
    value = data.draw(QUESTION[key])
    hits = answer_or_error(lambda: eng.search(**{"model": "m1", key: value}))
    assert hits is None or (len(hits) < N and np.isfinite([hit.score for hit in hits]).all())


@pytest.mark.parametrize(
    "key", ["k", "recall", "where", "method", "shortlist", "transform", "shortlist_space", "encoder"]
)
@pytest.mark.parametrize("method", ["first_moment", "gaussian_density"])
@settings(often, max_examples=15)
@given(data=st.data())
def test_any_value_of_a_search_by_vectors(eng: Engine, key: str, method: str, data: st.DataObject) -> None:
    asked = {"method": method, key: data.draw(QUESTION[key])}
    if isinstance(asked.get("k"), int) and asked["k"] > 10**5:
        asked["k"] += MOST_ANSWERS  # what is allowed is given its room: not here
    found = answer_or_error(lambda: eng.search_vectors(np.ones(D), **asked))
    assert found is None or not np.isnan(found[0]).any()


@often
@given(query=vectors)
def test_any_vectors(eng: Engine, query: Any) -> None:
    found = answer_or_error(lambda: eng.search_vectors(query, 3))
    if found is not None:
        scores, ids = found
        assert np.isfinite(scores).all()
        assert (ids >= 1).all()
        assert (np.abs(scores) <= 1 + 1e-5).all()
        assert (np.diff(scores, axis=-1) <= 0).all()


@often
@given(name=anything, k=numbers, distance=st.sampled_from(["frechet", "cosine"]) | anything)
def test_any_name(eng: Engine, name: Any, k: Any, distance: Any) -> None:
    answer_or_error(lambda: eng.get(name))
    answer_or_error(lambda: eng.thumbnails(name))
    answer_or_error(lambda: eng.similar(name, k))
    answer_or_error(lambda: eng.similar("m1", 2, distance=distance))
    answer_or_error(lambda: eng.remove(f"{name}\0" if isinstance(name, str) else name))
    assert len(eng.models()) == N


@often
@given(name=anything)
def test_any_name_for_new_statistics(eng: Engine, name: Any) -> None:
    """Either it is refused, or it is there under that very name and can be removed."""
    ask = lambda: eng.ingest_statistics([name], np.ones((1, D), np.float32), encoder="external:x", samples=3)  # noqa: E731
    if any(model.name == name for model in eng.models()):
        return
    if answer_or_error(ask) is not None:
        assert eng.get(name).name == name
        json.dumps(name).encode()
        eng.remove(name)
    assert len(eng.models()) == N


@often
@given(weight=numbers)
@example(weight=10**400)
@example(weight=5e-324)
@example(weight=1.7e308)
def test_any_weight(eng: Engine, weight: Any) -> None:
    hits = answer_or_error(lambda: eng.search(model="m1", weights={"model": weight}))
    if hits is not None:
        plain = [weight * hit.score for hit in eng.search(model="m1")]
        assert weight > 0
        np.testing.assert_allclose([hit.score for hit in hits], plain, rtol=1e-6)


@pytest.mark.parametrize("value", [0, -1, True, 2.5, "3", [1], MOST_ANSWERS + 1, 10**400])
def test_k_and_the_shortlist_are_bounded(eng: Engine, value: Any) -> None:
    for asked in ({"k": value}, {"shortlist": value}):
        with pytest.raises(InvalidQuery, match="whole number of at least 1 and at most"):
            eng.search(model="m1", **asked)
        with pytest.raises(InvalidQuery, match="whole number of at least 1 and at most"):
            eng.search_vectors(np.ones(D), method="gaussian_density", **asked)


@pytest.mark.parametrize("value", [[], {}, ["first_moment"], 5, "\0", "\ud800", True])
@pytest.mark.parametrize("key", ["method", "transform", "shortlist_space", "encoder", "modality"])
def test_what_is_no_name_is_refused(eng: Engine, key: str, value: Any) -> None:
    with pytest.raises(EngineError) as caught:
        eng.search_vectors(np.ones(D), **{key: value})
    assert caught.value.message
    caught.value.message.encode()
    with pytest.raises(EngineError):
        eng.search(model="m1", **{"method" if key == "modality" else key: value})


def test_an_object_is_no_vector(eng: Engine) -> None:
    for query in (object(), {"a": 1}, [10**400] * D, [[1, 2], [3]]):
        with pytest.raises(InvalidFeatures):
            eng.search_vectors(query)

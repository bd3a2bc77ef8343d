"""The cache of factors: least recently used first, within its budget, never a stale value."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rerank.byte_cache import ByteCache


def test_the_least_recently_used_goes_first() -> None:
    cache: ByteCache[str] = ByteCache(10)
    for key in "abc":
        cache.put(key, 1, key.upper(), 3)
    assert cache.get("a", 1) == "A"
    cache.put("d", 1, "D", 3)
    assert [cache.get(key, 1) for key in "abcd"] == ["A", None, "C", "D"]
    assert (cache.used, len(cache), cache.hits, cache.misses) == (9, 3, 4, 1)


def test_another_version_is_a_miss() -> None:
    cache: ByteCache[str] = ByteCache(10)
    cache.put("a", 1, "old", 3)
    assert cache.get("a", 2) is None
    cache.put("a", 2, "new", 4)
    assert (cache.get("a", 2), cache.get("a", 1), cache.used) == ("new", None, 4)


def test_what_is_larger_than_the_budget_is_not_kept() -> None:
    cache: ByteCache[str] = ByteCache(10)
    cache.put("a", 1, "small", 3)
    cache.put("b", 1, "large", 11)
    cache.put("a", 2, "grown", 11)
    assert (cache.get("a", 1), cache.get("a", 2), cache.get("b", 1), cache.used) == (None, None, None, 0)
    nothing: ByteCache[str] = ByteCache(0)
    nothing.put("a", 1, "x", 1)
    assert len(nothing) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 12)), max_size=40))
def test_the_budget_holds_and_values_are_never_stale(puts: list[tuple[int, int, int]]) -> None:
    cache: ByteCache[tuple[int, int, int]] = ByteCache(20)
    sizes: dict[int, int] = {}
    for key, version, size in puts:
        cache.put(key, version, (key, version, size), size)
        sizes[key] = size
        found = cache.get(key, version)
        assert found == (key, version, size)
        assert cache.used <= 20
        kept = [k for k in range(6) if any(cache.get(k, v) is not None for v in range(3))]
        assert cache.used == sum(sizes[k] for k in kept)

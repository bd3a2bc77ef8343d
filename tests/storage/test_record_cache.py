"""A record that is kept is the row's: whatever changes the row is seen, also by another process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.records import Model, Origin
from engine.storage import Catalog, Database
from engine.storage.record_cache import RecordCache

CHANGES: dict[str, Callable[[Catalog, int], object]] = {
    "description": lambda catalog, _: catalog.update("fox", {"description": "other"}),
    "tags": lambda catalog, _: catalog.update("fox", {"tags": ["b"]}),
    "name": lambda catalog, _: catalog.update("fox", {"name": "vixen"}),
    "metadata": lambda catalog, _: catalog.update("fox", {"metadata": {"a": 1}}),
    "place": lambda catalog, _: catalog.put_origin("fox", "external:test", Origin({"type": "folder", "path": "/b"})),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen(
    catalog: Catalog, put: Callable[..., Model], change: Callable[[Catalog, int], object]
) -> None:
    fox = put("fox", tags=["a"])
    assert catalog.models_by_id([fox.id]) == {fox.id: fox}
    change(Catalog(catalog.database), fox.id)  # as another process does, which this one's cache hears nothing of
    seen = catalog.models_by_id([fox.id])[fox.id]
    assert seen != fox
    assert seen == catalog.models()[0]


def test_new_statistics_are_seen(catalog: Catalog, put: Callable[..., Model]) -> None:
    fox = put("fox", rows=40)
    assert catalog.models_by_id([fox.id])[fox.id].samples == 40
    put("fox", rows=50)
    assert catalog.models_by_id([fox.id])[fox.id].samples == 50


def test_what_is_gone_is_left_out(catalog: Catalog, put: Callable[..., Model]) -> None:
    fox, owl = put("fox"), put("owl")
    assert set(catalog.models_by_id([fox.id, owl.id, 999])) == {fox.id, owl.id}
    catalog.remove("fox")
    assert set(catalog.models_by_id([fox.id, owl.id])) == {owl.id}


def test_it_keeps_the_latest(database: Database, put: Callable[..., Model]) -> None:
    ids = [put(f"m{number}").id for number in range(5)]
    cache = RecordCache(most=3)
    for _ in range(2):
        with database.read() as session:
            assert sorted(cache.read(session, ids)) == ids
    assert len(cache._known) == 3

"""What the catalogue promises: ids, names, tags, filters, changes, checkpoints, damage."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from engine.errors import (
    DuplicateName,
    EncoderMismatch,
    EncoderNotFound,
    InvalidInput,
    ModelNotFound,
)
from engine.records import EncoderIdentity, Quarantined, Thumbnail
from engine.storage import Catalog, Database
from engine.storage.details import checked_details, checked_name
from engine.storage.search_facts import FactsReader
from engine.storage.tables import Base

# --- models


def test_a_model_comes_back_as_it_was_put(catalog: Catalog, put, make_statistics, encoder_id: int) -> None:
    statistics, features = make_statistics()
    model = put(
        "fox", statistics=statistics, features=features, tags=["red", "animal", "red"], description="a fox",
        kind="gan", author="Ann", license="MIT", base_model="sg2", links={"home": "https://example.org"},
        resolution=256, metadata={"a": [1, None, {"b": 2.5}]},
        extra={
            "generator": {"type": "onnx"},
            "thumbnails": (Thumbnail(b"one", "image/webp"), Thumbnail(b"two", "image/png")),
            "quarantine": (Quarantined("bad.png", "it is text"),),
        },
    )  # fmt: skip
    assert catalog.model("fox") == model == catalog.models()[0] == catalog.models_by_id([model.id])[model.id]
    assert (model.name, model.kind, model.tags, model.description) == ("fox", "gan", ("animal", "red"), "a fox")
    assert (model.author, model.license, model.base_model, model.resolution) == ("Ann", "MIT", "sg2", 256)
    assert (model.links, model.metadata) == ({"home": "https://example.org"}, {"a": [1, None, {"b": 2.5}]})
    assert (model.source, model.generator) == ({"type": "test"}, {"type": "onnx"})
    assert (model.encoders, model.samples, model.quarantined) == (("external:test",), 40, 1)
    assert abs(datetime.now(timezone.utc) - model.created_at).total_seconds() < 60
    assert catalog.names([model.id, 999]) == {model.id: "fox"}
    assert [t.data for t in catalog.thumbnails(model.id)] == [b"one", b"two"]
    assert catalog.quarantine(model.id) == [Quarantined("bad.png", "it is text")]

    good, damaged = catalog.statistics(encoder_id, [model.id, 999])
    assert (list(good), damaged) == ([model.id], {})
    stored = good[model.id].statistics
    np.testing.assert_array_equal(stored.mean, statistics.mean)
    np.testing.assert_array_equal(stored.covariance, statistics.covariance)
    assert (stored.epsilon, stored.samples) == (1e-4, 40)
    kept, damaged = catalog.sample_features(encoder_id, [model.id])
    np.testing.assert_array_equal(kept[model.id], features.astype(np.float16).astype(np.float32))
    assert damaged == {}


def test_replacing_keeps_the_id_and_what_is_not_given(catalog: Catalog, put, encoder_id: int) -> None:
    first = put("fox", tags=["animal"], description="old", extra={"thumbnails": (Thumbnail(b"one", "image/webp"),)})
    before = catalog.changes_of(encoder_id, [first.id])[first.id]
    second = put("fox", description="new", digest="e", kept=False)
    assert (second.id, second.tags, second.description) == (first.id, ("animal",), "new")
    assert (second.created_at, second.updated_at > first.updated_at) == (first.created_at, True)
    assert catalog.changes_of(encoder_id, [first.id])[first.id] > before
    assert catalog.source_digest("fox", encoder_id) == "e"
    assert [t.data for t in catalog.thumbnails(first.id)] == [b"one"]
    assert catalog.sample_features(encoder_id, [first.id]) == ({}, {})  # those of the old content are gone
    assert catalog.count() == 1


def test_ids_are_never_used_again(catalog: Catalog, put, database: Database) -> None:
    seen = []
    for name in ("a", "b", "c"):
        seen.append(put(name).id)
        catalog.remove(name)
    assert len(set(seen)) == 3
    put("d")
    changes = catalog.last_change()
    catalog.remove("d")
    assert catalog.last_change() == changes + 1
    assert put("e").id > max(seen) + 1
    assert catalog.models_by_id(seen) == catalog.names(seen) == {}


def test_removing_leaves_nothing_behind(catalog: Catalog, put, database: Database) -> None:
    put("fox", tags=["animal"], extra={"thumbnails": (Thumbnail(b"one", "image/webp"),)})
    catalog.remove("fox")
    with database.connection() as connection:
        left = {
            table.name: connection.execute(text(f"SELECT count(*) FROM {table.name}")).scalar_one()
            for table in Base.metadata.sorted_tables
        }
    assert left == dict.fromkeys(left, 0) | {"collection": 2, "encoders": 1, "changes": 2}


@pytest.mark.parametrize("name", ["owl", "", "fo", None, 5, "a\x00b", "\ud800", "x'; DROP TABLE models; --"])
def test_a_model_that_is_not_there(catalog: Catalog, put, name) -> None:
    put("fox")
    for ask in (catalog.model, catalog.remove, lambda n: catalog.update(n, {"kind": "gan"})):
        with pytest.raises(ModelNotFound) as caught:
            ask(name)
        assert caught.value.hint
    assert catalog.count() == 1


def test_a_close_name_is_suggested(catalog: Catalog, put) -> None:
    put("red fox")
    with pytest.raises(ModelNotFound) as caught:
        catalog.model("red fix")
    assert caught.value.hint == "did you mean red fox?"


# --- describing


def test_update_changes_only_what_is_given(catalog: Catalog, put) -> None:
    model = put("fox", tags=["animal"], description="a fox", author="Ann")
    change = catalog.last_change()
    changed = catalog.update("fox", {"tags": ["red"], "author": None})
    assert (changed.tags, changed.author, changed.description) == (("red",), None, "a fox")
    assert (changed.id, changed.samples) == (model.id, model.samples)
    assert catalog.last_change() == change  # no index needs to hear of it
    assert catalog.update("fox", {"tags": []}).tags == ()


def test_unused_tags_go(catalog: Catalog, put, database: Database) -> None:
    def tags() -> set[str]:
        with database.connection() as connection:
            return set(connection.execute(text("SELECT name FROM tags")).scalars())

    put("fox", tags=["animal", "red"])
    put("owl", tags=["animal"])
    catalog.update("fox", {"tags": ["orange"]})
    assert tags() == {"animal", "orange"}
    catalog.remove("owl")
    assert tags() == {"orange"}
    put("fox", tags=["animal"], digest="e")
    assert tags() == {"animal"}


def test_renaming(catalog: Catalog, put) -> None:
    fox, _ = put("fox"), put("owl")
    assert catalog.update("fox", {"name": "vixen", "kind": "gan"}).id == fox.id
    with pytest.raises(ModelNotFound):
        catalog.model("fox")
    with pytest.raises(DuplicateName, match="owl") as caught:
        catalog.update("vixen", {"name": "owl", "kind": "vae"})
    assert caught.value.hint
    assert catalog.model("vixen").kind == "gan"  # nothing of a refused change is kept
    assert catalog.update("vixen", {"name": "vixen"}).name == "vixen"
    with pytest.raises(InvalidInput):
        catalog.update("vixen", {"name": " "})


@pytest.mark.parametrize("name", ["", " fox", "fox ", "a\nb", "a\x00", "\ud800", 5, None, "x" * 256, "\u200bfox"])
def test_names_that_are_refused(name) -> None:
    with pytest.raises(InvalidInput):
        checked_name(name)


@pytest.mark.parametrize("name", ["fox", "x" * 255, "red fox", "лиса", "狐", "50%", "it's", 'a"b', "a/b", "-"])
def test_names_that_are_taken(catalog: Catalog, put, name: str) -> None:
    put(name)
    assert catalog.model(name).name == name


@pytest.mark.parametrize(
    "details",
    [
        {"colour": "red"}, {"kind": None}, {"kind": ""}, {"kind": "x" * 65}, {"author": 5}, {"author": "x" * 256},
        {"description": "a\x00b"}, {"description": "\ud800"}, {"description": "x" * 100_001}, {"license": ["MIT"]},
        {"tags": 5}, {"tags": [5]}, {"tags": [""]}, {"tags": ["a\nb"]}, {"tags": ["x" * 256]}, {"tags": {"a": 1}},
        {"resolution": 0}, {"resolution": -1}, {"resolution": 1.5}, {"resolution": True}, {"resolution": "256"},
        {"resolution": 2**63}, {"resolution": 2**31}, {"links": ["https://example.org"]}, {"links": {"home": 5}},
        {"links": {5: "x"}}, {"metadata": [1]}, {"metadata": {"a": float("nan")}}, {"metadata": {"a": {1, 2}}},
        {"metadata": {"a": object()}}, {"metadata": {1: "a"}}, {"metadata": {"a": "\ud800"}},
        {"links": {"home": "\ud800"}},
    ],
)  # fmt: skip
def test_details_that_are_refused(catalog: Catalog, put, details) -> None:
    with pytest.raises(InvalidInput):
        checked_details(details)
    with pytest.raises(InvalidInput):
        put("fox", **details)
    assert catalog.count() == 0


def test_deep_metadata_is_refused_or_stored(catalog: Catalog, put) -> None:
    deep: dict = {}
    inner = deep
    for _ in range(100_000):
        inner["a"] = {}
        inner = inner["a"]
    with pytest.raises(InvalidInput):
        put("fox", metadata=deep)
    assert catalog.count() == 0


text_values = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | text_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text_values, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    description=st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=200),
    tags=st.lists(text_values.filter(lambda tag: tag.isprintable() and tag.strip()), max_size=4),
    metadata=st.dictionaries(text_values, json_values, max_size=4),
)
def test_any_text_survives_storage(catalog: Catalog, put, description, tags, metadata) -> None:
    stored = put("fox", description=description, tags=tags, metadata=metadata)
    assert stored == catalog.model("fox")
    assert stored.description == description
    assert set(stored.tags) == {tag.strip() for tag in tags}
    assert stored.metadata == metadata
    for tag in tags:
        assert [m.name for m in catalog.models({"tag": [tag.strip()]})] == ["fox"]


# --- many models


def test_more_models_than_one_statement_can_name(catalog: Catalog, put, make_statistics) -> None:
    statistics, _ = make_statistics()
    ids = [put(f"m{i:04}", statistics=statistics, kept=False, tags=["all"]).id for i in range(5)]
    wanted = [*ids, *range(10**6, 10**6 + 3000)]
    assert sorted(catalog.names(wanted)) == ids
    assert sorted(catalog.models_by_id(wanted)) == ids
    assert sorted(catalog.changes_of(1, wanted)) == ids
    assert sorted(catalog.statistics(1, wanted)[0]) == ids


# --- encoders


def other(identity: EncoderIdentity, **changes) -> EncoderIdentity:
    return EncoderIdentity(**{**identity.__dict__, **changes})


def test_encoders_are_told_apart(catalog: Catalog, identity: EncoderIdentity, encoder_id: int) -> None:
    assert catalog.register_encoder(identity) == encoder_id
    second = other(identity, name="external:other", modalities=frozenset({"image", "text"}))
    assert catalog.register_encoder(second) != encoder_id
    assert set(catalog.encoders().values()) == {identity, second}
    with pytest.raises(EncoderMismatch, match="other weights") as caught:
        catalog.register_encoder(other(identity, fingerprint="e" * 64))
    assert caught.value.hint
    facts = FactsReader(catalog.database).read()
    assert facts.encoder("external:other", "external:test").identity == second
    with pytest.raises(EncoderNotFound, match="nothing") as caught:
        facts.encoder("nothing", "external:test")
    assert "external:test" in str(caught.value.hint)


def test_one_model_under_two_encoders(catalog: Catalog, put, identity: EncoderIdentity, encoder_id: int) -> None:
    second = catalog.register_encoder(other(identity, name="external:other"))
    model = put("fox")
    again = put("fox", encoder=second, rows=7)
    assert (again.id, again.encoders, again.samples) == (model.id, ("external:other", "external:test"), 7)
    assert (catalog.statistics_count(encoder_id), catalog.statistics_count(second)) == (1, 1)
    assert catalog.statistics(encoder_id, [model.id])[0][model.id].statistics.samples == 40
    catalog.remove("fox")
    assert (catalog.statistics_count(encoder_id), catalog.statistics_count(second)) == (0, 0)


# --- the change sequence


def test_changes_tell_an_index_all_it_needs(catalog: Catalog, put, encoder_id: int) -> None:
    assert catalog.last_change() == 0
    ant, bee = put("ant"), put("bee")
    ids, means, removed, damaged, newest = catalog.means_since(encoder_id, 0)
    assert (ids.tolist(), means.shape, removed, damaged, newest) == ([ant.id, bee.id], (2, 8), [], [], 2)
    np.testing.assert_array_equal(means[1], catalog.statistics(encoder_id, [bee.id])[0][bee.id].statistics.mean)
    put("ant", digest="e")
    catalog.remove("bee")
    cat = put("cat")
    ids, _, removed, _, newest = catalog.means_since(encoder_id, 2)
    assert (ids.tolist(), removed, newest) == ([ant.id, cat.id], [bee.id], 5)
    assert catalog.means_since(encoder_id, 5)[0].size == 0
    ids, means, *_ = catalog.means_since(encoder_id, 99)
    assert (ids.dtype, means.shape, means.dtype) == (np.int64, (0, 8), np.float32)


# --- checkpoints


def test_checkpoints(catalog: Catalog, put, encoder_id: int) -> None:
    assert catalog.checkpoint("fox", encoder_id, "d") is None
    catalog.save_checkpoint("fox", encoder_id, "d", 5, b"five")
    catalog.save_checkpoint("fox", encoder_id, "d", 9, b"nine")
    assert catalog.checkpoint("fox", encoder_id, "d") == b"nine"
    assert catalog.checkpoint("fox", encoder_id, "other content") is None
    assert catalog.checkpoint("owl", encoder_id, "d") is None
    put("fox")
    assert catalog.checkpoint("fox", encoder_id, "d") is None  # done with it
    catalog.save_checkpoint("fox", encoder_id, "d", 5, b"five")
    catalog.drop_checkpoint("fox", encoder_id)
    assert catalog.checkpoint("fox", encoder_id, "d") is None


# --- damage


def flip(database: Database, table: str, column: str, model_id: int) -> None:
    """Turn over one bit in the middle of a blob."""
    with database.write() as session:
        key = {"i": model_id}
        data = bytearray(
            session.execute(text(f"SELECT {column} FROM {table} WHERE model_id = :i"), key).scalar_one()
        )  # fmt: skip
        data[len(data) // 2] ^= 1
        session.execute(text(f"UPDATE {table} SET {column} = :d WHERE model_id = :i"), {**key, "d": bytes(data)})


@pytest.mark.parametrize("column", ["mean", "covariance"])
def test_a_flipped_bit_in_the_moments_is_noticed(
    catalog: Catalog, database: Database, put, encoder_id: int, column: str
) -> None:
    fox, owl = put("fox"), put("owl")
    flip(database, "statistics", column, fox.id)
    good, damaged = catalog.statistics(encoder_id, [fox.id, owl.id])
    assert list(good) == [owl.id]
    assert "checksum" in damaged[fox.id]
    ids, means, _, broken, _ = catalog.means_since(encoder_id, 0)
    expected = ([owl.id], [fox.id]) if column == "mean" else ([fox.id, owl.id], [])
    assert (ids.tolist(), broken) == expected  # a mean serves on when only the covariance is broken
    assert np.isfinite(means).all()
    put("fox", digest="e")
    assert catalog.statistics(encoder_id, [fox.id, owl.id])[1] == {}


@pytest.mark.parametrize("length", [0, 31, 33, 36])
def test_a_blob_of_another_length_is_noticed(
    catalog: Catalog, database: Database, put, encoder_id: int, length: int
) -> None:
    fox = put("fox")
    with database.write() as session:
        session.execute(text("UPDATE statistics SET mean = :d"), {"d": bytes(length)})
    assert catalog.means_since(encoder_id, 0)[3] == [fox.id]
    assert list(catalog.statistics(encoder_id, [fox.id])[1]) == [fox.id]


def test_a_covariance_that_vanished_is_noticed(catalog: Catalog, database: Database, put, encoder_id: int) -> None:
    fox = put("fox")
    with database.write() as session:
        session.execute(text("UPDATE statistics SET covariance = NULL"))
    assert list(catalog.statistics(encoder_id, [fox.id])[1]) == [fox.id]


def test_a_flipped_bit_in_the_sample_features_is_noticed(
    catalog: Catalog, database: Database, put, encoder_id: int
) -> None:
    fox, owl = put("fox"), put("owl")
    flip(database, "sample_features", "data", fox.id)
    good, damaged = catalog.sample_features(encoder_id, [fox.id, owl.id])
    assert list(good) == [owl.id]
    assert "checksum" in damaged[fox.id]

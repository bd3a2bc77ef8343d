"""Transforms: versions, at most one active, damage noticed, and databases from before there were any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import exc, inspect, text

from engine import Engine
from engine.config import Settings
from engine.errors import CorruptData, DatabaseOutdated, TransformNotFound
from engine.records import EncoderIdentity, Transform
from engine.storage import Catalog, Database, Transforms, migrate

D = 8
TRIANGULAR = {"matrix": np.tril(np.arange(D * D, dtype=np.float32).reshape(D, D) + 1)}
WHITENING = {
    "whiten": np.eye(D, dtype=np.float32),
    "centre": np.ones(D, np.float32),
    "average": np.full(D, 2, np.float32),
    "between": np.diag(np.arange(D)).astype(np.float32),
}


@pytest.fixture
def transforms(database: Database) -> Transforms:
    """The transforms of the collection."""
    return Transforms(database)


def add(transforms: Transforms, encoder_id: int, *, activate: bool = True, modality: str = "sketch") -> Transform:
    return transforms.add(
        encoder_id, "first_moment", modality, "triangular", TRIANGULAR, {"seed": 3}, activate=activate
    )


def test_what_is_added_comes_back(transforms: Transforms, encoder_id: int) -> None:
    made = add(transforms, encoder_id)
    assert made.name == "sketch-first_moment-triangular-1"
    assert (made.version, made.active, made.report) == (1, True, {"seed": 3})
    assert transforms.get(made.name) == made
    assert transforms.all() == transforms.active(encoder_id) == [made]
    np.testing.assert_array_equal(transforms.arrays(made)["matrix"], TRIANGULAR["matrix"])


@pytest.mark.parametrize(
    ("parameterisation", "arrays"),
    [
        ("diagonal", {"diagonal": np.full(D, 0.5, np.float32)}),
        ("full", {"matrix": np.asfortranarray(np.random.default_rng(0).normal(size=(D, D)).astype(np.float32))}),
        ("whitening", WHITENING),
    ],
)
def test_every_parameterisation_is_stored(
    transforms: Transforms, encoder_id: int, parameterisation: str, arrays: dict[str, np.ndarray]
) -> None:
    made = transforms.add(encoder_id, "first_moment", "any", parameterisation, arrays, {}, activate=False)
    read = transforms.arrays(made)
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)


def test_versions_count_and_one_is_active(transforms: Transforms, encoder_id: int) -> None:
    first, second = add(transforms, encoder_id), add(transforms, encoder_id)
    text_one = add(transforms, encoder_id, modality="text")
    assert (second.version, text_one.version) == (2, 1)
    assert {one.name for one in transforms.active(encoder_id)} == {second.name, text_one.name}
    assert transforms.activate(first.name).active
    assert {one.name for one in transforms.active(encoder_id)} == {first.name, text_one.name}
    assert not transforms.deactivate(first.name).active
    assert [one.name for one in transforms.active(encoder_id)] == [text_one.name]
    assert transforms.remove(second.name).name == second.name
    assert [one.name for one in transforms.all()] == [first.name, text_one.name]


def test_replacing_removes_the_versions_before(transforms: Transforms, encoder_id: int) -> None:
    arrays = WHITENING
    kind = (encoder_id, "whitened_first_moment", "any", "whitening", arrays, {})
    for version in (1, 2, 3):
        made = transforms.add(*kind, activate=True, replace=True)
        assert made.version == version
    assert transforms.all() == [made]


def test_another_encoders_are_its_own(transforms: Transforms, catalog: Catalog, encoder_id: int) -> None:
    other = catalog.register_encoder(EncoderIdentity("external:other", "e" * 64, D, 10.0, frozenset()))
    mine, theirs = add(transforms, encoder_id), add(transforms, other)
    assert mine.name != theirs.name
    assert transforms.active(encoder_id) == [mine]
    assert transforms.active(other) == [theirs]


def test_the_database_itself_refuses_a_second_active_one(
    transforms: Transforms, database: Database, encoder_id: int
) -> None:
    add(transforms, encoder_id)
    add(transforms, encoder_id, activate=False)
    with pytest.raises(exc.IntegrityError), database._engine.begin() as connection:
        connection.execute(text("UPDATE transforms SET active = :yes"), {"yes": True})


def test_what_is_not_there_is_named(transforms: Transforms, encoder_id: int) -> None:
    with pytest.raises(TransformNotFound, match="nope") as caught:
        transforms.get("nope")
    assert "engine learn" in str(caught.value.hint)
    made = add(transforms, encoder_id)
    for ask in (transforms.get, transforms.activate, transforms.deactivate, transforms.remove):
        with pytest.raises(TransformNotFound) as caught:
            ask("nope")
        assert made.name in str(caught.value.hint)
    transforms.remove(made.name)
    with pytest.raises(TransformNotFound):
        transforms.arrays(made)


# --- damage


def set_data(database: Database, data: bytes) -> None:
    with database.write() as session:
        session.execute(text("UPDATE transforms SET data = :d"), {"d": data})


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_flipped_bit_is_noticed(transforms: Transforms, database: Database, encoder_id: int, data) -> None:
    made = add(transforms, encoder_id)
    with database.read() as session:
        good = session.execute(text("SELECT data FROM transforms WHERE id = :i"), {"i": made.id}).scalar_one()
    bad = bytearray(good)
    bad[data.draw(st.integers(0, len(bad) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    set_data(database, bytes(bad))
    with pytest.raises(CorruptData, match="damaged") as caught:
        transforms.arrays(made)
    assert made.name in str(caught.value.hint)
    transforms.remove(made.name)


@pytest.mark.parametrize(
    "arrays",
    [
        {"other": TRIANGULAR["matrix"]}, {"matrix": np.ones((D, D + 1), np.float32)},
        {"matrix": np.full((D, D), np.nan, np.float32)}, {"matrix": np.ones((D, D), np.float64)}, {},
    ],
    ids=["name", "shape", "nan", "dtype", "empty"],
)  # fmt: skip
def test_what_a_broken_writer_left_is_noticed(
    transforms: Transforms, database: Database, encoder_id: int, arrays: dict[str, np.ndarray]
) -> None:
    """Its checksum holds, and yet it is no transform of this encoder."""
    import safetensors.numpy

    from engine.storage import blobs

    made = add(transforms, encoder_id)
    data = safetensors.numpy.save(arrays)
    set_data(database, data)
    with pytest.raises(CorruptData):
        transforms.arrays(replace(made, checksum=blobs.checksum(data)))


# --- databases from before


def test_a_database_of_revision_0001_is_upgraded_with_its_data(
    database: Database, catalog: Catalog, put, url: str, settings: Settings, encoder_id: int
) -> None:
    fox = put("fox", tags=["animal"])
    put("owl")
    add(Transforms(database), encoder_id)
    migrate.downgrade(database, "0001")
    with database.connection() as connection:
        assert "transforms" not in inspect(connection).get_table_names()
    with pytest.raises(DatabaseOutdated) as caught:
        Engine.open(url, settings=settings)
    assert "engine db upgrade" in str(caught.value.hint)
    migrate.upgrade(database)
    assert catalog.model("fox") == fox
    assert Transforms(database).all() == []
    with Engine.open(url, settings=settings) as eng:
        assert [hit.name for hit in eng.search(model="fox", method="whitened_first_moment")] == ["owl"]


def test_the_migration_is_packaged() -> None:
    assert {"0001_the_first_schema.py", "0002_transforms.py"} <= {
        path.name for path in Path(migrate.migrations_folder(), "versions").glob("*.py")
    }

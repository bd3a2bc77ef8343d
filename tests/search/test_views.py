"""The index follows the database: replayed, refreshed, and rebuilt whenever its snapshot cannot be trusted."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from engine.config import Settings
from engine.index import snapshot as snapshots
from engine.index.manifest import manifest_to_text, read_manifest
from engine.records import EncoderIdentity, EncoderRef
from engine.scores import unit
from engine.search import IndexView, IndexViews
from engine.storage import Catalog, Database

View = Callable[[], IndexView]


def assert_holds_the_database(view: IndexView, catalog: Catalog) -> None:
    ids, means, *_ = catalog.means_since(view.encoder_id, 0)
    assert sorted(view.index.ids.tolist()) == ids.tolist()
    np.testing.assert_array_equal(view.index.vectors(ids), unit(means))
    assert view.change == catalog.last_change()


@pytest.fixture
def reopened(catalog: Catalog, tmp_path: Path, encoder_id: int, identity: EncoderIdentity) -> View:
    """The view of a process that has just started."""
    return lambda: IndexViews(catalog, tmp_path / "index").current(EncoderRef(encoder_id, identity))


@pytest.fixture
def published(views: IndexViews, put, encoder_id: int, identity: EncoderIdentity) -> Path:
    """A collection of five models whose snapshot is current; the snapshot's folder."""
    for number in range(5):
        put(f"m{number}")
    views.rebuild(EncoderRef(encoder_id, identity))
    return views.folder(identity)


steps = st.lists(
    st.tuples(st.sampled_from(["put", "put", "remove", "publish", "reopen", "look"]), st.integers(0, 4)), max_size=15
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_any_history_ends_with_the_database(
    catalog: Catalog, put, tmp_path: Path, encoder_id: int, identity: EncoderIdentity, steps
) -> None:
    root = tmp_path / "history"
    shutil.rmtree(root, ignore_errors=True)
    for model in catalog.models():
        catalog.remove(model.name)
    mine, theirs = IndexViews(catalog, root), IndexViews(catalog, root)
    for what, number in steps:
        name = f"m{number}"
        if what == "put":
            put(name, digest=str(catalog.last_change()))
        elif what == "remove" and catalog.models({"name": name}):
            catalog.remove(name)
        elif what == "publish":
            mine.current(EncoderRef(encoder_id, identity))
            mine.publish_stale()
        elif what == "reopen":
            mine = IndexViews(catalog, root)
        else:
            assert_holds_the_database(theirs.current(EncoderRef(encoder_id, identity)), catalog)
    for views in (mine, theirs, IndexViews(catalog, root)):
        assert_holds_the_database(views.current(EncoderRef(encoder_id, identity)), catalog)


def test_another_process_sees_what_is_committed(
    url: str, put, catalog: Catalog, tmp_path: Path, encoder_id: int, identity: EncoderIdentity
) -> None:
    other = Database(url, Settings())
    views = IndexViews(Catalog(other), tmp_path / "index")
    assert len(views.current(EncoderRef(encoder_id, identity)).index) == 0
    put("fox")
    before = views.current(EncoderRef(encoder_id, identity))
    assert_holds_the_database(before, catalog)
    put("fox", digest="other")
    put("owl")
    catalog.remove("fox")
    after = views.current(EncoderRef(encoder_id, identity))
    assert_holds_the_database(after, catalog)
    assert len(before.index) == 1  # a search in flight keeps the view it began with
    assert views.current(EncoderRef(encoder_id, identity)) is after
    other.close()


def test_a_current_snapshot_is_used(published: Path, reopened: View, catalog: Catalog, monkeypatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise AssertionError("rebuilt without need")

    monkeypatch.setattr(IndexViews, "_built", refuse)
    assert_holds_the_database(reopened(), catalog)


def test_a_snapshot_that_is_behind_is_replayed(published: Path, reopened: View, catalog: Catalog, put) -> None:
    put("m1", digest="other")
    catalog.remove("m2")
    put("new")
    assert_holds_the_database(reopened(), catalog)


def delete_everything(folder: Path) -> None:
    shutil.rmtree(folder)


def delete_generation(folder: Path) -> None:
    shutil.rmtree(next(path for path in folder.iterdir() if path.is_dir()))


def flip_a_byte(folder: Path) -> None:
    path = next(folder.glob("*/vectors.npy"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def garbage_manifest(folder: Path) -> None:
    (folder / "CURRENT.json").write_text("{")


def edit(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "CURRENT.json"
        manifest = read_manifest(folder)
        assert manifest is not None
        path.write_text(manifest_to_text(replace(manifest, **changes)))

    return damage


DAMAGES = {
    "deleted": delete_everything, "generation deleted": delete_generation, "flipped": flip_a_byte,
    "garbage": garbage_manifest, "newer than the database": edit(change=10**6),
    "other collection": edit(collection="x"), "other weights": edit(fingerprint="x"),
    "other dimension": edit(dimension=9), "wrong count": edit(models=4),
    "newer format": edit(format=99), "a kind that is gone": edit(kind="panorama"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_snapshot_that_cannot_be_trusted_is_rebuilt(
    published: Path, reopened: View, catalog: Catalog, damage: Callable[[Path], None], caplog
) -> None:
    damage(published)
    with caplog.at_level(logging.WARNING):
        assert_holds_the_database(reopened(), catalog)
    assert ("rebuilding" in caplog.text) == (damage is not delete_everything)


def test_a_snapshot_that_disagrees_with_the_database_is_rebuilt(
    published: Path, reopened: View, catalog: Catalog, database: Database
) -> None:
    with database.write() as session:  # behind the engine's back: no change tells of it
        session.execute(text("DELETE FROM statistics WHERE model_id = (SELECT min(model_id) FROM statistics)"))
    assert_holds_the_database(reopened(), catalog)


def test_a_snapshot_replaced_while_it_is_read_is_read_again(
    published: Path, reopened: View, views: IndexViews, catalog: Catalog, put, encoder_id, identity, monkeypatch, caplog
) -> None:
    """Another process publishes, and so removes the generation, between our reading of manifest and files."""
    real = snapshots.load

    def load(root: Path, manifest: snapshots.SnapshotManifest):
        monkeypatch.setattr(snapshots, "load", real)
        put("new")
        views.rebuild(EncoderRef(encoder_id, identity))
        return real(root, manifest)

    monkeypatch.setattr(snapshots, "load", load)
    with caplog.at_level(logging.WARNING):
        assert_holds_the_database(reopened(), catalog)
    assert "rebuilding" not in caplog.text


def test_a_damaged_mean_is_left_out_until_it_is_ingested_again(
    published: Path, views: IndexViews, reopened: View, catalog: Catalog, database: Database, put, encoder_id, identity
) -> None:
    victim = catalog.model("m2").id
    with database.write() as session:
        statement = text("UPDATE statistics SET mean = :zeros WHERE model_id = :i")
        session.execute(statement, {"i": victim, "zeros": bytes(32)})
    views.rebuild(EncoderRef(encoder_id, identity))
    for view in (views.current(EncoderRef(encoder_id, identity)), reopened(), reopened()):
        assert victim not in view.index.ids
        assert view.damaged == {victim}
    put("m2", digest="again")
    for view in (views.current(EncoderRef(encoder_id, identity)), reopened()):
        assert victim in view.index.ids
        assert view.damaged == frozenset()


def test_a_place_that_cannot_be_written_costs_only_the_snapshot(
    catalog: Catalog, put, tmp_path: Path, encoder_id: int, identity: EncoderIdentity, caplog
) -> None:
    (tmp_path / "occupied").write_text("a file where the folder should be")
    put("fox")
    views = IndexViews(catalog, tmp_path / "occupied")
    assert_holds_the_database(views.current(EncoderRef(encoder_id, identity)), catalog)
    views.publish_stale()
    assert "could not be written" in caplog.text


def test_snapshots_of_encoders_lie_apart(views: IndexViews, identity: EncoderIdentity) -> None:
    names = ["a/b", "a:b", "../a", "a" * 300, "a b", "лиса"]
    made = [
        EncoderIdentity(**{**identity.__dict__, "name": name, "fingerprint": f"{number:064x}"[::-1]})
        for number, name in enumerate(names)
    ]
    folders = [views.folder(one) for one in made]
    assert len(set(folders)) == len(names)
    assert {folder.parent for folder in folders} == {views.root}

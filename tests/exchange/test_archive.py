"""Archives: everything comes back as it was, and what is not whole is refused whole."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import inspect, text

from engine import Engine
from engine.config import Settings
from engine.errors import Conflict, DuplicateName, EncoderMismatch, EngineError, InvalidArchive, SourceNotFound
from engine.exchange import ArchiveFile, ArchiveReader, write
from engine.exchange.archive_file import MANIFEST, manifest_digest
from engine.ingest.stream import image_to_thumbnail
from engine.records import EncoderIdentity, Ingested, Quarantined, Thumbnail
from engine.statistics import Moments
from engine.storage import Catalog
from engine.storage import archive_rows as exchange
from tests.postgres import copy_collection

DERIVED = {"neighbours", "checkpoints", "changes", "alembic_version", "collection", "model_tags"}
OWN = {"id", "model_id", "encoder_id", "change", "neighbours_change", "tag_id"}
"""A database's own numbers."""


def preview(number: int, i: int) -> Thumbnail:
    return image_to_thumbnail(Image.new("RGB", (9, 7), (number, i, 200)), 9)


def fill(eng: Engine, cloud: Any, count: int = 7) -> None:
    """Models of two encoders, with and without everything that a model can have, and two transforms."""
    catalog = eng.services.catalog
    clip = catalog.register_encoder(EncoderIdentity("external:test", "f" * 64, 8, 10.0, frozenset({"image", "text"})))
    other = catalog.register_encoder(EncoderIdentity("external:other", "e" * 64, 5, 1.5, frozenset()))
    for number in range(count):
        rows = cloud(number, rows=30, dimension=8)
        catalog.put(
            Ingested(
                f"model {number} ♥",
                {
                    "kind": "gan", "tags": ["animal", f"n{number % 3}"], "description": f"line\n{number} ÅÇ 🦊",
                    "author": None if number % 2 else "Smith, J.", "links": {"home": "https://example.org/?a=1&b=2"},
                    "resolution": 64 + number, "metadata": {"deep": [1, {"x": None}], "pi": 3.25}, "license": "MIT",
                    "base_model": "base",
                },
                Moments.of(rows).to_statistics(1e-4), {"type": "folder", "path": "/somewhere"}, f"{number:064d}",
                generator={"type": "program", "command": "draw"} if number == 1 else None,
                sample_features=rows.astype(np.float16) if number % 3 else None,
                thumbnails=tuple(preview(number, i) for i in range(number % 4)),
                quarantine=(Quarantined("bad.png", "not a picture"),) if number == 2 else (),
            ),
            clip,
        )  # fmt: skip
        if number % 2:
            few = cloud(100 + number, rows=12, dimension=5)
            statistics = Moments.of(few).to_statistics(1e-3)
            catalog.put(Ingested(f"model {number} ♥", {}, statistics, {"type": "features"}, "x" * 64), other, add=True)
    eng.ingest_statistics(["means only"], cloud(50, rows=1), encoder="external:test", samples=9)
    matrix = np.eye(8, dtype=np.float32) * 1.5
    for active in (True, False):
        eng.services.transforms.transforms.add(
            clip, "first_moment", "sketch", "full", {"matrix": matrix}, {"top1": 0.5}, activate=active
        )
    eng.build_index()


@pytest.fixture(scope="module")
def filled(new_collection: Callable[[], str], cloud: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A collection to be copied, and its index."""
    address, index = new_collection(), tmp_path_factory.mktemp("filled") / "index"
    with Engine.open(address, settings=Settings(index_folder=str(index))) as eng:
        fill(eng, cloud)
    return address, index


@pytest.fixture
def zoo(filled: tuple[str, Path], url: str, settings: Settings) -> Any:
    copy_collection(filled[0], url)
    shutil.copytree(filled[1], settings.index_folder)
    with Engine.open(url, settings=settings) as eng:
        yield eng


@pytest.fixture
def archive(zoo: Engine, tmp_path: Path) -> Path:
    zoo.export_archive(tmp_path / "zoo.engine")
    return tmp_path / "zoo.engine"


@pytest.fixture
def empty(tmp_path: Path) -> Any:
    settings = Settings(index_folder=str(tmp_path / "other-index"))
    with Engine.open(
        f"sqlite:///{tmp_path / 'other.db'}", create=True, encoder="external:test", settings=settings
    ) as eng:
        yield eng


def contents(eng: Engine) -> dict[str, list[Any]]:
    """Every row of every table that is the truth, under names, without the database's own numbers."""
    found: dict[str, list[Any]] = {}
    with eng.services.database.read() as session:
        tables = inspect(session.connection()).get_table_names()
        names = {row.id: row.name for row in session.execute(text("SELECT id, name FROM models"))}
        encoders = {row.id: row.name for row in session.execute(text("SELECT id, name FROM encoders"))}
        for table in set(tables) - DERIVED:
            rows = []
            for row in session.execute(text(f"SELECT * FROM {table}")).mappings():
                whose = (names.get(row.get("model_id")), encoders.get(row.get("encoder_id")))
                values = {k: bytes(v) if isinstance(v, memoryview) else v for k, v in row.items() if k not in OWN}
                rows.append((str(whose), str(sorted(values.items()))))
            found[table] = sorted(rows)
        tagged = (
            "SELECT m.name, t.name FROM model_tags x JOIN models m ON m.id = x.model_id JOIN tags t ON t.id = x.tag_id"
        )
        found["model_tags"] = sorted(tuple(row) for row in session.execute(text(tagged)))
    return found


def test_a_round_trip_is_exact(zoo: Engine, archive: Path, empty: Engine) -> None:
    counts = empty.import_archive(archive)
    assert (counts.added, counts.replaced, counts.skipped, counts.transforms) == (8, 0, 0, 4)
    before, after = contents(zoo), contents(empty)
    if zoo.services.database.is_sqlite:
        assert after == before
        assert {
            "models",
            "statistics",
            "sample_features",
            "thumbnails",
            "transforms",
            "encoders",
            "tags",
        } <= before.keys()
    else:  # texts of other types: the records are compared
        assert [replaced(one) for one in empty.models()] == [replaced(one) for one in zoo.models()]
        for table in ("sample_features", "thumbnails"):
            assert after[table] == before[table]
    again = archive.with_name("again.engine")
    empty.export_archive(again)
    with zipfile.ZipFile(archive) as one, zipfile.ZipFile(again) as other:
        assert one.namelist() == other.namelist()
        for name in one.namelist():
            if name != MANIFEST:
                assert one.read(name) == other.read(name), name
    assert all(finding.severity == "stale" for finding in empty.doctor())
    empty.build_index()
    assert empty.doctor() == []


def replaced(model: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(model).items() if name != "id"}


def test_searches_answer_the_same(zoo: Engine, archive: Path, empty: Engine, cloud: Any) -> None:
    empty.import_archive(archive)
    query = cloud(3, rows=1)[0]
    for method in ("first_moment", "gaussian_density", "best_10"):
        scores, ids = zoo.search_vectors(query, 5, method)
        others, found = empty.search_vectors(query, 5, method)
        assert empty.names(found) == zoo.names(ids)
        np.testing.assert_allclose(others, scores, rtol=1e-5)


def test_a_part_can_be_exported(zoo: Engine, tmp_path: Path, empty: Engine) -> None:
    exported = zoo.export_archive(tmp_path / "part.engine", {"tag": "n1"})
    assert exported.counts["models"] == 2
    assert empty.import_archive(tmp_path / "part.engine").added == 2
    assert {model.name for model in empty.models()} == {"model 1 ♥", "model 4 ♥"}


def test_an_empty_collection_is_exported(empty: Engine, tmp_path: Path) -> None:
    empty.export_archive(tmp_path / "none.engine")
    assert empty.import_archive(tmp_path / "none.engine").added == 0


def test_names_that_are_taken(zoo: Engine, archive: Path, empty: Engine, cloud: Any) -> None:
    empty.ingest(cloud(99, rows=30), name="model 3 ♥", tags=["mine"])
    before = contents(empty)
    with pytest.raises(EncoderMismatch):  # the same name, made by nobody knows whom
        empty.import_archive(archive)
    assert contents(empty) == before
    zoo.update("model 3 ♥", description="changed")
    before = contents(zoo)
    with pytest.raises(DuplicateName, match="nothing was imported"):
        zoo.import_archive(archive)
    assert contents(zoo) == before
    assert zoo.import_archive(archive, on_conflict="skip").skipped == 8
    assert zoo.get("model 3 ♥").description == "changed"
    was = zoo.get("model 3 ♥").id
    counts = zoo.import_archive(archive, on_conflict="replace")
    assert (counts.replaced, counts.added) == (8, 0)
    assert zoo.get("model 3 ♥").description.startswith("line")
    assert zoo.get("model 3 ♥").id > was
    zoo.build_index()
    assert zoo.doctor() == []
    assert zoo.search(model="model 1 ♥", k=3)[0].name in {model.name for model in zoo.models()}


def test_damaged_models_are_left_out_and_named(zoo: Engine, tmp_path: Path) -> None:
    with zoo.services.database.write() as session:
        said = {"i": zoo.get("model 2 ♥").id, "d": b"\0" * 144}
        session.execute(text("UPDATE statistics SET covariance = :d WHERE model_id = :i"), said)
    exported = zoo.export_archive(tmp_path / "zoo.engine")
    assert list(exported.damaged) == ["model 2 ♥"]
    assert exported.counts["models"] == 7


# --- what is refused


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def rewrite(path: Path, found: dict[str, bytes], **changes: Any) -> None:
    """An archive of those members, whose manifest is right about their checksums and is signed."""
    manifest = {**json.loads(found[MANIFEST]), **changes}
    if "members" not in changes:
        manifest["members"] = {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in found.items() if name != MANIFEST
        }  # fmt: skip
    manifest["sha256"] = manifest_digest(manifest)
    with zipfile.ZipFile(path, "w") as file:
        for name, data in {**found, MANIFEST: json.dumps(manifest).encode()}.items():
            file.writestr(name, data)


def edited(change: Callable[[dict[str, Any]], None], member: str = "models/000000.jsonl", line: int = 1) -> Any:
    def damage(path: Path) -> None:
        found = members(path)
        lines = [json.loads(one) for one in found[member].decode().splitlines()]
        change(lines[line])
        found[member] = "".join(json.dumps(one) + "\n" for one in lines).encode()
        rewrite(path, found)

    return damage


def with_member(name: str, data: bytes) -> Any:
    def damage(path: Path) -> None:
        rewrite(path, {**members(path), name: data})

    return damage


def without(name: str) -> Any:
    def damage(path: Path) -> None:
        rewrite(path, {key: data for key, data in members(path).items() if key != name})

    return damage


def manifest(**changes: Any) -> Any:
    def damage(path: Path) -> None:
        rewrite(path, members(path), **changes)

    return damage


def compressed(path: Path) -> None:
    found = members(path)
    found["models/000000.jsonl"] += b"\n" * 10_000_000
    rewrite(path, found)
    with zipfile.ZipFile(path) as file:
        told = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in told.items():
            file.writestr(name, data)


def claims_a_terabyte(path: Path) -> None:
    """The central directory says that a member has 2⁴⁰ bytes (a ZIP64 field)."""
    found = members(path)
    with zipfile.ZipFile(path, "w") as file:
        for name, data in found.items():
            file.writestr(name, data)
        for info in file.infolist():
            if info.filename == "statistics/000000.safetensors":
                info.file_size = info.compress_size = 2**40


def twice(path: Path) -> None:
    data = members(path)["encoders.jsonl"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(path, "a") as file:
            file.writestr("encoders.jsonl", data)


def pickled(path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{}], object), allow_pickle=True)
    with_member("statistics/000000.safetensors", stream.getvalue())(path)


def nan(path: Path) -> None:
    found = members(path)
    data = bytearray(found["statistics/000000.safetensors"])
    data[-4:] = struct.pack("<f", float("nan"))
    found["statistics/000000.safetensors"] = bytes(data)
    rewrite(path, found)


REFUSED: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello"),
    "another zip": lambda path: zipfile.ZipFile(path, "w").close(),
    "a zip with another manifest": lambda path: rewrite_plain(path, b'{"format": "other"}'),
    "a manifest that is no JSON": lambda path: rewrite_plain(path, b"{"),
    "a deep manifest": lambda path: rewrite_plain(path, b"[" * 200_000),
    "newer": manifest(version=2),
    "version true": manifest(version=True),
    "wrong counts": manifest(counts={"models": 10**9}),
    "too many models": lambda path: rewrite(
        path, members(path), counts={**json.loads(members(path)[MANIFEST])["counts"], "models": 10**12}
    ),
    "too many blocks": lambda path: rewrite(
        path, members(path), counts={**json.loads(members(path)[MANIFEST])["counts"], "blocks": 2}
    ),
    "members of another kind": manifest(members=[]),
    "a member that is not there": without("statistics/000000.safetensors"),
    "a block that is not there": without("models/000000.jsonl"),
    "a member that escapes": with_member("../../etc/cron.d/x", b"x"),
    "an absolute member": with_member("/etc/passwd", b"x"),
    "an unknown member": with_member("models/000000.pkl", b"x"),
    "a zip bomb": compressed,
    "a terabyte": claims_a_terabyte,
    "a member twice": twice,
    "a pickle": pickled,
    "safetensors of nothing": with_member("statistics/000000.safetensors", b""),
    "safetensors with a huge header": with_member("statistics/000000.safetensors", struct.pack("<Q", 2**62)),
    "a NaN": nan,
    "a model twice": edited(lambda line: line.update(name="model 0 ♥")),
    "a name with a line break": edited(lambda line: line.update(name="a\nb")),
    "a name that is a number": edited(lambda line: line.update(name=5)),
    "an unknown field": edited(lambda line: line.update(more=1)),
    "a missing field": edited(lambda line: line.pop("tags")),
    "an unknown encoder": edited(lambda line: line["statistics"][0].update(encoder=9)),
    "a negative encoder": edited(lambda line: line["statistics"][0].update(encoder=-1)),
    "an encoder twice": edited(lambda line: line["statistics"].append(line["statistics"][0])),
    "no samples": edited(lambda line: line["statistics"][0].update(samples=0)),
    "too many samples": edited(lambda line: line["statistics"][0].update(samples=2**40)),
    "epsilon zero": edited(lambda line: line["statistics"][0].update(epsilon=0)),
    "more features than there are": edited(lambda line: line["statistics"][0].update(sample_features=31)),
    "a covariance that is not named": edited(lambda line: line["statistics"][0].update(covariance=False)),
    "a quarantine of numbers": edited(lambda line: line["statistics"][0].update(quarantine=[[1, 2]])),
    "a date without a zone": edited(lambda line: line.update(created_at="2026-01-01T00:00:00")),
    "a date that is none": edited(lambda line: line.update(created_at="yesterday")),
    "a preview that is not there": edited(lambda line: line["thumbnails"].append("image/png")),
    "links that are no texts": edited(lambda line: line.update(links={"a": 1})),
    "a lone surrogate": edited(lambda line: line.update(author="\ud800")),
    "another dimension": edited(lambda line: line.update(dimension=9), "encoders.jsonl", 0),
    "no dimension": edited(lambda line: line.update(dimension=0), "encoders.jsonl", 0),
    "a huge dimension": edited(lambda line: line.update(dimension=2**31 - 1), "encoders.jsonl", 0),
    "an encoder of the same name": edited(lambda line: line.update(name="external:other"), "encoders.jsonl", 0),
    "an unknown parameterisation": edited(lambda line: line.update(parameterisation="x"), "transforms.jsonl", 0),
    "a transform twice": edited(lambda line: line.update(name="sketch-first_moment-full-2"), "transforms.jsonl", 0),
    "another transform": edited(lambda line: line.update(parameterisation="diagonal"), "transforms.jsonl", 1),
}


def rewrite_plain(path: Path, data: bytes) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(MANIFEST, data)


@pytest.mark.backends("sqlite")  # what is refused is a file
@pytest.mark.parametrize("what", REFUSED)
def test_an_archive_that_is_not_whole_is_refused_whole(archive: Path, empty: Engine, what: str, tmp_path: Path) -> None:
    REFUSED[what](archive)
    before, files = contents(empty), sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidArchive) as caught:
        empty.import_archive(archive)
    assert caught.value.hint
    assert contents(empty) == before
    assert sorted(tmp_path.rglob("*")) == files  # nothing was unpacked


def test_a_cut_or_flipped_archive_is_refused_or_the_same(archive: Path, empty: Engine) -> None:
    """Three hundred places: what is imported at all is what was exported."""
    data, numbers = archive.read_bytes(), random.Random(0)
    before, refused = contents(empty), 0
    for round_ in range(300):
        place = numbers.randrange(len(data))
        if round_ % 3:
            archive.write_bytes(data[:place] + bytes([data[place] ^ 1 << numbers.randrange(8)]) + data[place + 1 :])
        else:
            archive.write_bytes(data[:place])
        try:
            with ArchiveFile(archive) as file:
                ArchiveReader(file).verify()
                models = [model.name for model in ArchiveReader(file).models()]
            assert len(models) == 8  # a byte that means nothing, such as a time in a zip's directory
        except InvalidArchive:
            refused += 1
    assert contents(empty) == before
    print(f"300 damaged archives, {refused} refused, the others the same as before")
    assert refused > 250


def test_there_is_no_archive(empty: Engine, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound):
        empty.import_archive(tmp_path / "none.engine")
    with pytest.raises(SourceNotFound):
        empty.import_archive(tmp_path)


def test_an_interrupted_import_leaves_nothing(archive: Path, empty: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    before, real, count = contents(empty), exchange._put_model, 0

    def interrupted(*arguments: Any) -> None:
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(exchange, "_put_model", interrupted)
    with pytest.raises(KeyboardInterrupt):
        empty.import_archive(archive)
    assert contents(empty) == before


def test_an_export_that_fails_leaves_nothing(zoo: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "zoo.engine").write_bytes(b"the one before")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write, "move_into_place", full)
    with pytest.raises(EngineError, match="could not be written"):
        zoo.export_archive(folder / "zoo.engine")
    assert [path.read_bytes() for path in folder.iterdir()] == [b"the one before"]
    with pytest.raises(Conflict):
        zoo.export_archive(folder)
    with pytest.raises(EngineError, match="could not be written"):
        zoo.export_archive(tmp_path / "nowhere" / "zoo.engine")


def test_blocks(zoo: Engine, tmp_path: Path, empty: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "BLOCK_MODELS", 3)
    exported = zoo.export_archive(tmp_path / "zoo.engine")
    assert exported.counts["blocks"] == 3
    assert empty.import_archive(tmp_path / "zoo.engine").added == 8
    assert len(Catalog(empty.services.database).models()) == 8

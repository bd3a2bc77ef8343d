"""A collection with rows in every table, and what a database holds, by table."""

from __future__ import annotations

import numpy as np

from engine import Engine
from engine.config import Settings
from engine.records import Ingested, Statistics, Thumbnail
from engine.statistics import Moments
from engine.storage import Catalog, Database, Transforms
from engine.storage.copy_rows import digest_rows, plain_tables
from engine.storage.tables import Base

D = 8
NAMES = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")


def features(seed: int, rows: int = 40) -> np.ndarray:
    """Features ``(rows, D)`` around a direction of their own."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=D) + 0.3 * rng.normal(size=(rows, D))).astype(np.float32)


def make_collection(url: str, settings: Settings) -> None:
    """Seven models; every table has rows, and the newest model has been removed."""
    with Engine.open(url, create=True, encoder="external:test", settings=settings) as eng:
        for seed, name in enumerate((*NAMES, "newest")):
            eng.ingest(
                features(seed),
                name=name,
                tags=["animal", f"letter {name[0]}"],
                description=f"Zeichnung: {name} \u2603",
                links={"home": "https://example.org/\u00fc"},
                metadata={"seed": seed, "tiny": 1e-300, "deep": [None, True]},
            )
        eng.ingest(features(20), name="ant", encoder="external:other")
        database = eng.services.database
        catalog = Catalog(database)
        pictures = [Thumbnail(bytes([number]) * 3000, "image/webp") for number in range(3)]
        with_pictures = Ingested(
            "owl", {"tags": ["bird"]}, _statistics(9), {"type": "test"}, "d", thumbnails=pictures,
            sample_features=features(9).astype(np.float16),
        )  # fmt: skip
        catalog.put(with_pictures, 1)
        catalog.save_checkpoint("yak", 1, "digest", 3, b"\x00state" * 100)
        matrix = {"matrix": np.tril(np.ones((D, D), np.float32))}
        for active in (True, False, True):
            Transforms(database).add(1, "first_moment", "sketch", "triangular", matrix, {"r": 0.5}, activate=active)
        eng.build_index()
        eng.remove("newest")
        eng.complete_neighbours()


def _statistics(seed: int) -> Statistics:
    return Moments.of(features(seed)).to_statistics(1e-4)


def digests(url: str, settings: Settings) -> dict[str, tuple[int, str]]:
    """Each table's number of rows and digest."""
    database = Database(url, settings)
    with database.connection() as connection:
        sqlite = database.is_sqlite
        found = {
            table.name: digest_rows(connection, table, sqlite=sqlite, block_bytes=4096)
            for table in plain_tables(sqlite=sqlite)
        }
    database.close()
    assert found.keys() == Base.metadata.tables.keys()
    return found

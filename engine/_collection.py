"""What every side of an open collection shares: the catalogue, the index views, the encoders."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config import Settings, cache_folder
from engine.errors import DatabaseNotFound, EncoderMismatch, EncoderNotFound
from engine.records import EncoderIdentity
from engine.rerank import Card, Files, StatisticsCache
from engine.search import IndexViews, Plan, TransformCache, query_to_plan
from engine.search.change_watcher import Follower
from engine.search.similar import complete_neighbours
from engine.search.spaces import GAUSSIAN
from engine.storage import Catalog, Database, Neighbours, Transforms

if TYPE_CHECKING:
    from engine.encoders.async_batcher import BatchingEncoder
    from engine.encoders.protocol import Encoder

FastKey = tuple[str | None, str, str, str | None, str | None]
"""Encoder, modality, method, transform and shortlist space of ``search_vectors``."""


class Collection:
    """The parts of an open collection. Threads may share it."""

    def __init__(self, database: Database, settings: Settings) -> None:
        """Use ``Engine.open``: it checks the database first."""
        self.settings = settings
        self._database = database
        self._catalog = Catalog(database)
        facts = self._catalog.facts()
        if "id" not in facts:
            raise DatabaseNotFound(
                f"the collection in {database.shown_url} was never completed",
                hint=f"run: engine init --database {database.shown_url}",
            )
        self.default_encoder = facts["default_encoder"]
        self._neighbours = Neighbours(database)
        self._views = IndexViews(self._catalog, _index_root(database, settings, facts["id"]), settings.index_kind)
        self._transforms = Transforms(database)
        self._maps = TransformCache(self._catalog, self._transforms)
        files = Files(self._views.beside, settings.factor_file_bytes, settings.sample_file_bytes)
        on_card = settings.rerank_device != "cpu"
        card = Card(settings.rerank_device, settings.card_factor_bytes) if on_card else None
        self._evidence = StatisticsCache(self._catalog, settings.factor_cache_bytes, files, card)
        self._encoders: dict[str, Encoder] = {}
        self._together: dict[str, BatchingEncoder] = {}
        self._fast: dict[FastKey, Plan] = {}
        self._loading = threading.Lock()
        self._refreshing = threading.Lock()
        self._follower: Follower | None = None

    def _complete(
        self,
        encoder_id: int,
        identity: EncoderIdentity,
        *,
        only: int | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> int:
        view = self._views.current(encoder_id, identity)
        return complete_neighbours(
            view, self._evidence, self._neighbours, self.settings, only=only, on_progress=on_progress
        )

    def _keep_factors(
        self,
        encoder_id: int,
        identity: EncoderIdentity,
        on_progress: Callable[[str, int, int], None] | None = None,
        *,
        started: bool = False,
        verified: bool = False,
    ) -> None:
        """Complete the files that exact rules read; with ``started`` only where there are such.

        With ``verified`` what is in them is hashed first, and made again where it is damaged.
        """
        view = self._views.current(encoder_id, identity)
        toward = self._maps.shrinkage(encoder_id, identity, self.settings.shrinkage)
        if verified:
            self._evidence.stores.verify(view, toward)
        if not started or self._evidence.stores.has_files(view, toward):
            self._evidence.stores.build(view, toward, on_progress)

    def _measure_agreement(self, encoder_id: int, identity: EncoderIdentity) -> None:
        """Keep beside the index how far two-stage searches agree with the exhaustive density."""
        from engine.search.agreement import SIZES, measure_agreement, save_agreement
        from engine.search.status import AGREEMENT

        settings = self.settings
        plan = query_to_plan(
            self._views, self._maps, encoder_id, identity, ["image"], method=GAUSSIAN, transform=None,
            shortlist_space=settings.shortlist_space, shrinkage=settings.shrinkage,
            density_shortlist=settings.density_shortlist,
        )  # fmt: skip
        sizes = (*SIZES, settings.shortlist if plan.shortlist is None else plan.shortlist)
        agreement = measure_agreement(plan.view, self._evidence, plan.shrinkage, sizes)
        save_agreement(self._views.beside(identity, AGREEMENT), agreement)

    def _load(self, name: str) -> Encoder:
        from engine.encoders import load_encoder

        with self._loading:
            if name not in self._encoders:
                self._encoders[name] = load_encoder(name, device=self.settings.device)
            return self._encoders[name]

    def _searchable(self, name: str | None) -> tuple[int, EncoderIdentity]:
        """The encoder whose statistics a search reads."""
        if name is not None:
            return self._catalog.encoder_by_name(name)
        known = self._catalog.encoders()
        for encoder_id, identity in known.items():
            if identity.name == self.default_encoder:
                return encoder_id, identity
        if len(known) == 1:
            return next(iter(known.items()))
        names = ", ".join(identity.name for identity in known.values())
        raise EncoderNotFound(
            f"the collection has no statistics of its default encoder {self.default_encoder!r}",
            hint=f"name one of: {names}" if names else "ingest a model first",
        )

    def _matching_encoder(self, identity: EncoderIdentity) -> Encoder:
        """The encoder of queries: that which made the statistics, shared by threads if the settings say so."""
        encoder = self._load(identity.name)
        if encoder.identity.fingerprint != identity.fingerprint:
            raise EncoderMismatch(
                f"the encoder {identity.name!r} here ({encoder.identity.fingerprint[:12]}) is not the one that made "
                f"the collection's statistics ({identity.fingerprint[:12]})",
                hint="install the version that made the collection, or ingest the models again",
            )
        if not self.settings.encode_together:
            return encoder
        from engine.encoders.async_batcher import BatchingEncoder

        with self._loading:
            if identity.name not in self._together:
                self._together[identity.name] = BatchingEncoder(encoder)
            return self._together[identity.name]


def _index_root(database: Database, settings: Settings, collection: str) -> Path:
    if settings.index_folder is not None:
        return Path(settings.index_folder)
    if database.path is not None:
        return database.path.with_name(database.path.name + ".index")
    return cache_folder() / "index" / collection

"""One opened collection: what everything that works on it shares."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config import Settings, cache_folder
from engine.errors import DatabaseNotFound, EncoderMismatch
from engine.records import EncoderIdentity, EncoderRef
from engine.storage import Catalog, Database
from engine.storage.search_facts import FactsReader, SearchFacts

if TYPE_CHECKING:
    from engine.encoders.async_batcher import BatchingEncoder
    from engine.encoders.protocol import Encoder


class Session:
    """The database, the settings, the facts that searches plan by, and the encoders. Threads may share it.

    Attributes:
        collection: the collection's id.
        default_encoder: the name of the encoder that is used where none is given.
        index_folder: where everything derived from the database lies.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        """
        Raises:
            DatabaseNotFound: the collection was never completed.
        """
        self.database = database
        self.settings = settings
        self.catalog = Catalog(database)
        facts = self.catalog.facts()
        if "id" not in facts:
            raise DatabaseNotFound(
                f"the collection in {database.shown_url} was never completed",
                hint=f"run: engine init --database {database.shown_url}",
            )
        self.collection = facts["id"]
        self.default_encoder = facts["default_encoder"]
        self.index_folder = _index_folder(database, settings, self.collection)
        self._facts = FactsReader(database)
        self._encoders: dict[str, Encoder] = {}
        self._batching: dict[str, BatchingEncoder] = {}
        self._loading = threading.Lock()

    # --- facts

    def facts(self) -> SearchFacts:
        """The facts as of now, in one read: what anybody has committed is seen."""
        return self._facts.read()

    def facts_at_hand(self) -> SearchFacts:
        """The facts as last read, without asking the database unless this process has committed something since."""
        return self._facts.at_hand()

    def encoder(self, name: str | None = None, facts: SearchFacts | None = None) -> EncoderRef:
        """The encoder of that name, or the one that is searched by where none is named.

        Raises:
            EncoderNotFound: it made no statistics here.
        """
        return (facts or self.facts()).encoder(name, self.default_encoder)

    def encoders(self) -> list[EncoderRef]:
        """Every encoder that made statistics here."""
        return [EncoderRef(*pair) for pair in self.facts().encoders.items()]

    # --- encoders as networks

    def load_encoder(self, name: str) -> Encoder:
        """An encoder, loaded once.

        Raises:
            EncoderNotFound, MissingDependency, MissingWeights
        """
        from engine.encoders import load_encoder

        with self._loading:
            if name not in self._encoders:
                self._encoders[name] = load_encoder(name, device=self.settings.device)
            return self._encoders[name]

    def use_encoder(self, name: str, encoder: Encoder) -> None:
        """Let an encoder of the caller's own stand for the one of that name."""
        with self._loading:
            self._encoders[name] = encoder

    def query_encoder(self, identity: EncoderIdentity) -> Encoder:
        """The encoder that made the statistics, which must encode the queries too.

        With ``settings.encode_together`` threads share its batches.

        Raises:
            EncoderMismatch: the encoder of that name here has other weights or another preprocessing.
        """
        encoder = self.load_encoder(identity.name)
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
            if identity.name not in self._batching:
                self._batching[identity.name] = BatchingEncoder(encoder)
            return self._batching[identity.name]

    def close(self) -> None:
        """Stop the encoders' threads and close the database."""
        for encoder in self._batching.values():
            encoder.close()
        self.database.close()


def _index_folder(database: Database, settings: Settings, collection: str) -> Path:
    if settings.index_folder is not None:
        return Path(settings.index_folder)
    if database.path is not None:
        return database.path.with_name(database.path.name + ".index")
    return cache_folder() / "index" / collection

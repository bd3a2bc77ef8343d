"""Adding models to a collection: one source, or a manifest of many."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine._collection import Collection
from engine.errors import ModelNotFound, StorageError
from engine.ingest import IngestResult, OnProgress, ingest_source
from engine.ingest.bulk import arrays_to_blocks, put_blocks
from engine.ingest.names import source_to_name
from engine.ingest.report import IngestOutcome, IngestReport, to_ingest_error
from engine.records import EncoderIdentity, Model
from engine.samples import MomentsSource, open_source
from engine.storage.bulk import BulkCounts, put_many
from engine.storage.details import DETAILS, checked_details, checked_name

if TYPE_CHECKING:
    from engine.encoders.protocol import Encoder

log = logging.getLogger("engine.ingest")
Strings = Sequence[str]


class Ingesting(Collection):
    """The side of a collection that takes models in."""

    def ingest(
        self,
        source: Any,
        *,
        name: str | None = None,
        encoder: str | None = None,
        tags: Strings | None = None,
        description: str | None = None,
        samples: int | None = None,
        seed: int = 0,
        trust: bool = False,
        on_progress: OnProgress | None = None,
        **metadata: Any,
    ) -> Model:
        """Add a model, or replace it if its content has changed; unchanged content changes only what is said of it.

        Args:
            source: a folder or archive of pictures, a ``.npy``/``.npz`` of features or moments, a ``.onnx`` decoder,
                ``python:MODULE:CALLABLE``, ``program:COMMAND``, ``diffusers:PATH_OR_ID``, a dict as in a manifest,
                an ``(n, d)`` array of features, a callable, or an open source or generator.
            name: default: the file's or folder's name.
            encoder: default: the collection's.
            samples: how many to draw from a generator.
            seed: where a generator's drawing starts.
            trust: let a generator run a program or Python code.
            on_progress: called with (done, total, quarantined).
            **metadata: ``kind``, ``author``, ``license``, ``base_model``, ``links``, ``resolution``; anything else is
                kept as free metadata.

        Raises:
            EngineError: see ``engine.errors``; whatever is raised, nothing of the model was written.
        """
        details = _details(tags, description, metadata)
        return self._ingest(source, name, encoder, details, samples, seed, trust, on_progress, None).model

    def _ingest(
        self,
        source: Any,
        name: str | None,
        encoder: str | None,
        details: dict[str, Any],
        samples: int | None,
        seed: int,
        trust: bool,
        on_progress: OnProgress | None,
        base: Path | None,
        *,
        neighbours: bool = True,
    ) -> IngestResult:
        name = checked_name(name if name is not None else source_to_name(source))
        details = checked_details(details)
        opened = open_source(source, settings=self.settings, samples=samples, seed=seed, trust=trust, base=base)
        try:
            if "kind" not in details and not self._has(name):
                described = opened.describe().get("generator")
                details["kind"] = described["type"] if described else "unknown"
            loaded, identity = self._encoder_for(encoder or self.default_encoder, opened)
            result = ingest_source(
                self._catalog,
                self.settings,
                opened,
                name=name,
                details=details,
                encoder=loaded,
                identity=identity,
                on_progress=on_progress,
            )
        finally:
            opened.close()
        self._fast = {}
        if neighbours and result.changed:
            self._complete_soon(identity, result.model.id)
        return result

    def _complete_soon(self, identity: EncoderIdentity, model_id: int) -> None:
        """A new model's list of similar models. The model is committed: what fails now waits until it is asked for."""
        try:
            encoder_id, _ = self._catalog.encoder_by_name(identity.name)
            self._complete(encoder_id, identity, only=model_id)
        except StorageError as error:
            log.warning("similar models will be computed when they are asked for: %s", error)

    def ingest_statistics(
        self,
        names: Strings,
        means: NDArray[Any],
        covariances: NDArray[Any] | None = None,
        *,
        encoder: str,
        samples: int | Sequence[int] | NDArray[np.integer[Any]],
        tags: Sequence[Any] | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> BulkCounts:
        """Add many models by precomputed moments, or replace those whose moments have changed, in few transactions.

        Each transaction takes up to 10 000 models or 256 MB of moments, whole or not at all; a run that was killed or
        met a wrong covariance has written the blocks before, and running it again goes on from there. Lists of similar
        models are computed when they are asked for.

        Args:
            names: ``n`` distinct names.
            means: ``(n, d)`` floating; kept as float32.
            covariances: ``(n, d, d)``, or packed lower triangles ``(n, d (d + 1) / 2)``, without ε; None for means
                alone: such models are found by first moment, and have no density.
            encoder: what made the features. A name that the engine does not know is registered as external.
            samples: how many features went into each model's moments; one number, or ``n``.
            tags: for all, or a list a model; None, also in place of a list, leaves known models' tags as they are.
            on_progress: called with (done, n) after each transaction.

        Returns:
            How many models were added, replaced and unchanged.

        Raises:
            InvalidInput, DuplicateName, InvalidStatistics: naming the first wrong model. All but covariances are
                checked before anything is written.
            EncoderMismatch: d is not the encoder's dimension.
        """
        blocks = arrays_to_blocks(names, means, covariances, samples, tags, self.settings.epsilon)
        identity = self._identity_for(encoder, int(np.shape(means)[1]))
        encoder_id = self._catalog.register_encoder(identity)
        try:
            return put_blocks(
                blocks, lambda block: put_many(self._database, encoder_id, block), len(names), on_progress
            )
        finally:
            self._fast = {}

    def _identity_for(self, name: str, dimension: int) -> EncoderIdentity:
        from engine.errors import EncoderMismatch, EncoderNotFound

        try:
            found = self._identity_of(name, dimension)
        except EncoderNotFound:
            found = self._identity_of(f"external:{name}", dimension)
        if found.dimension != dimension:
            raise EncoderMismatch(
                f"{found.name} has {found.dimension} dimensions, the means have {dimension}",
                hint="give the encoder that made them",
            )
        return found

    def ingest_manifest(
        self,
        path: str | Path,
        *,
        encoder: str | None = None,
        trust: bool = False,
        on_entry: Callable[[int, int, str], OnProgress | None] | None = None,
        on_outcome: Callable[[IngestOutcome], None] | None = None,
    ) -> IngestReport:
        """Ingest every entry of a YAML or JSON Lines manifest; a bad entry is reported and the rest go on.

        Args:
            on_entry: called with (number, entries, name) before each; may return an ``on_progress`` for it.
            on_outcome: called after each.

        Raises:
            InvalidManifest: the file as a whole cannot be read.
        """
        from engine.samples.manifest import ManifestError, read_manifest

        entries = list(read_manifest(Path(path)))
        report = IngestReport()
        for number, entry in enumerate(entries, 1):
            name = entry.name or f"entry {number}"
            progress = on_entry(number, len(entries), name) if on_entry else None
            if isinstance(entry, ManifestError):
                outcome = IngestOutcome(name, "failed", error=entry.error)
            else:
                outcome = self._outcome(
                    name, entry.source, entry.name, entry.encoder or encoder, dict(entry.details()),
                    entry.samples, entry.seed, trust, progress, Path(path).parent,
                )  # fmt: skip
            report.outcomes.append(outcome)
            if on_outcome:
                on_outcome(outcome)
        return report

    def ingest_outcome(
        self,
        source: Any,
        *,
        name: str | None = None,
        encoder: str | None = None,
        tags: Strings | None = None,
        description: str | None = None,
        samples: int | None = None,
        seed: int = 0,
        trust: bool = False,
        on_progress: OnProgress | None = None,
        **metadata: Any,
    ) -> IngestOutcome:
        """One of many: as ``ingest``, but it says what became of the model instead of raising.

        Lists of similar models wait for ``complete_neighbours``.
        """
        label = name if name is not None else str(source)
        try:
            details = _details(tags, description, metadata)
        except Exception as error:
            return IngestOutcome(label, "failed", error=to_ingest_error(error))
        return self._outcome(label, source, name, encoder, details, samples, seed, trust, on_progress, None)

    def _outcome(self, label: str, source: Any, name: str | None, *rest: Any) -> IngestOutcome:
        try:
            known = self._has(name if name is not None else source_to_name(source))
            result = self._ingest(source, name, *rest, neighbours=False)
        except Exception as error:  # one of many: whatever it raises, the others go on
            return IngestOutcome(label, "failed", error=to_ingest_error(error))
        status = "unchanged" if not result.changed else "replaced" if known else "added"
        return IngestOutcome(result.model.name, status, result.model)

    def complete_neighbours(self, on_progress: Callable[[int, int], None] | None = None) -> int:
        """Compute every list of similar models that is missing or stale; how many there were.

        Where there are files of factors and samples, what they lack goes into them as well.
        """
        count = 0
        for encoder_id, identity in self._catalog.encoders().items():
            count += self._complete(encoder_id, identity, on_progress=on_progress)
            self._keep_factors(encoder_id, identity, started=True)
        return count

    def _has(self, name: str) -> bool:
        try:
            self._catalog.model(name)
        except ModelNotFound:
            return False
        return True

    def _encoder_for(self, name: str, source: Any) -> tuple[Encoder | None, EncoderIdentity]:
        """The encoder for a source; for features and moments only its identity is needed."""
        from engine.samples import FeatureSource

        if not isinstance(source, (FeatureSource, MomentsSource)):
            encoder = self._load(name)
            return encoder, encoder.identity
        return None, self._identity_of(
            name, source.mean.size if isinstance(source, MomentsSource) else source.dimension
        )

    def _identity_of(self, name: str, dimension: int) -> EncoderIdentity:
        """The collection's encoder of that name, one that is external with that dimension, or one that is loaded."""
        from engine.encoders import external_identity, is_external

        for identity in self._catalog.encoders().values():
            if identity.name == name:
                return identity
        return external_identity(name, dimension) if is_external(name) else self._load(name).identity


def _details(tags: Strings | None, description: str | None, metadata: dict[str, Any]) -> dict[str, Any]:
    if "licence" in metadata:
        metadata["license"] = metadata.pop("licence")
    details = {key: value for key, value in metadata.items() if key in DETAILS}
    extra = {key: value for key, value in metadata.items() if key not in DETAILS}
    if extra:
        details["metadata"] = {**details.get("metadata", {}), **extra}
    if tags is not None:
        details["tags"] = tags
    if description is not None:
        details["description"] = description
    return details

"""Adding models to a collection: one source, or a manifest of many."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import EncoderNotFound, InvalidInput, ModelNotFound, StorageError
from engine.files import checked_path
from engine.ingest import IngestResult, OnProgress, cannot_encode, ingest_source
from engine.ingest.bulk import arrays_to_blocks, put_blocks
from engine.ingest.names import source_to_name
from engine.ingest.report import IngestOutcome, IngestReport, to_ingest_error
from engine.ingest.trust import TrustService
from engine.records import EncoderIdentity, EncoderRef, Model
from engine.samples import MomentsSource, open_source
from engine.samples.bounds import GENEROUS, Bounds
from engine.session import Session
from engine.storage.bulk import BulkCounts, put_many
from engine.storage.details import DETAILS, checked_details, checked_name
from engine.texts import nearest

if TYPE_CHECKING:
    from engine.encoders.protocol import Encoder

log = logging.getLogger("engine.ingest")
Strings = Sequence[str]
OnEntry = Callable[[int, int, str], OnProgress | None]
"""Called with (number, entries, name) before each of many; may return an ``on_progress`` for it."""
OnChanged = Callable[[EncoderRef, int], object]
OnOutcome = Callable[[IngestOutcome], None]


class IngestService:
    """Takes models into one collection. Threads may share it."""

    def __init__(self, session: Session, trust: TrustService, on_changed: OnChanged) -> None:
        """``on_changed`` is called with the encoder and the model's id once new statistics are committed."""
        self._session = session
        self._trust = trust
        self._on_changed = on_changed

    def ingest(
        self,
        /,
        source: Any,
        *,
        name: str | None = None,
        encoder: str | None = None,
        tags: Strings | None = None,
        description: str | None = None,
        samples: int | None = None,
        seed: int | None = None,
        trust: bool = False,
        as_one: bool = False,
        replace: bool = False,
        upload: str | None = None,
        bounds: Bounds = GENEROUS,
        on_progress: OnProgress | None = None,
        **details: Any,
    ) -> Model:
        """Add a model, or replace it if its content has changed; unchanged content changes only what is said of it.

        A model is replaced by its own source only: by what lies at the same path, is drawn by the same generator, or
        has the same content; arrays, callables and generators in memory pass for one source. Then it keeps the fields
        that are not given. Features or moments of an encoder that the model has no statistics of are added to it if
        ``name`` is given.

        Args:
            source: a folder or archive of pictures, a ``.npy``/``.npz`` of features or moments, a ``.onnx`` decoder,
                ``python:MODULE:CALLABLE``, ``program:COMMAND``, ``diffusers:PATH_OR_ID``, a dict as in a manifest,
                an ``(n, d)`` array of features, a callable, or an open source or generator.
            name: default: the file's or folder's name.
            encoder: default: the collection's.
            samples: how many to draw from a generator (default 500); of moments whose file does not say, how many
                went into them. Refused with other sources.
            seed: where a generator's drawing starts (default 0). Refused with other sources.
            trust: let a generator run a program or Python code, and record that it may be drawn from on this machine.
            as_one: take a folder or an archive as one model although it looks like several, or like a model's weights.
            replace: let a model from another source be replaced. It is removed with its description, tags, statistics
                and id; of its fields only those that are given are there afterwards.
            upload: the file's name where somebody uploaded it, to be recorded in place of its path here.
            bounds: how much an archive or a file of arrays may hold.
            on_progress: called with (done, total, quarantined).
            **details: ``kind``, ``author``, ``license``, ``base_model``, ``links``, ``resolution``, and ``metadata``, a
                mapping of anything else.

        Raises:
            DuplicateName: the name is a model's from another source, and ``replace`` is not given.
            EngineError: see ``engine.errors``; whatever is raised, nothing of the model was written.
        """
        details = _details(tags, description, details)
        return self._ingest(
            source, name, encoder, details, samples, seed, trust, on_progress, as_one=as_one, replace=replace,
            upload=upload, bounds=bounds,
        ).model  # fmt: skip

    def check_upload(
        self,
        /,
        file: str,
        *,
        name: str,
        encoder: str | None = None,
        samples: int | None = None,
        as_one: bool = False,
        replace: bool = False,
        **details: Any,
    ) -> None:
        """Refuse what ``ingest`` would refuse of an uploaded file whatever is in it.

        Args:
            file: its name, whose ending says what it is; the rest as for ``ingest``.

        Raises:
            InvalidInput: a name or a field that cannot be stored, or an option that is of no use to such a file.
            EncoderNotFound: the encoder is neither external nor one that the collection has or makes models with.
            InvalidQuery: pictures, and an encoder that is known by its statistics alone.
        """
        from engine.encoders import is_external

        checked_name(name)
        checked_details(details)
        arrays = file.lower().endswith((".npy", ".npz"))
        if samples is not None and not file.lower().endswith(".npz"):
            raise InvalidInput(f"'samples' cannot be used with {file!r:.80}", hint="samples is for moments (.npz)")
        if as_one and arrays:
            raise InvalidInput(f"'as_one' cannot be used with {file!r:.80}", hint="as_one is for archives")
        encoder = encoder or self._session.default_encoder
        known = [
            self._session.default_encoder,
            *(identity.name for identity in self._session.catalog.encoders().values()),
        ]
        if encoder not in known and not is_external(encoder):
            raise EncoderNotFound(
                f"the collection has no encoder {encoder!r:.80}", hint="see engine encoders, or give external:NAME"
            )
        if is_external(encoder) and not arrays:
            raise cannot_encode(encoder)

    def _ingest(
        self,
        source: Any,
        name: str | None,
        encoder: str | None,
        details: dict[str, Any],
        samples: int | None,
        seed: int | None,
        trust: bool,
        on_progress: OnProgress | None,
        *,
        base: Path | None = None,
        as_one: bool = False,
        replace: bool = False,
        upload: str | None = None,
        bounds: Bounds = GENEROUS,
        neighbours: bool = True,
    ) -> IngestResult:
        named = name is not None
        name = checked_name(name if name is not None else source_to_name(source))
        details = checked_details(details)
        opened = open_source(
            source, settings=self._session.settings, samples=samples, seed=seed, trust=trust, as_one=as_one, base=base,
            bounds=bounds,
        )  # fmt: skip
        try:
            loaded, identity = self._encoder_for(encoder or self._session.default_encoder, opened)
            grant = self._trust.grant_for(name, opened, trust=trust)
            result = ingest_source(
                self._session.catalog,
                self._session.settings,
                opened,
                name=name,
                details=details,
                encoder=loaded,
                identity=identity,
                on_progress=on_progress,
                upload=upload,
                replace=replace,
                add=named,
            )
        finally:
            opened.close()
        self._trust.keep_grant(grant)
        if neighbours and result.changed:
            self._announce(identity, result.model.id)
        return result

    def _announce(self, identity: EncoderIdentity, model_id: int) -> None:
        """A model has new statistics, and is committed: what fails now waits until it is asked for."""
        try:
            self._on_changed(self._session.encoder(identity.name), model_id)
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
        replace: bool = False,
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
            replace: let models be replaced whose statistics of this encoder came from a folder, a file or a generator;
                these are removed with everything of them, and added anew.
            on_progress: called with (done, n) after each transaction.

        Returns:
            How many models were added, replaced and unchanged.

        Raises:
            InvalidInput, DuplicateName, InvalidStatistics: naming the first wrong model. All but covariances are
                checked before anything is written.
            EncoderMismatch: d is not the encoder's dimension.
            DuplicateName: also for a model from another source, where ``replace`` is not given.
        """
        blocks = arrays_to_blocks(names, means, covariances, samples, tags, self._session.settings.epsilon)
        identity = self._identity_for(encoder, int(np.shape(means)[1]))
        encoder_id = self._session.catalog.register_encoder(identity)
        return put_blocks(
            blocks,
            lambda block: put_many(self._session.database, encoder_id, block, replace=replace),
            len(names),
            on_progress,
        )

    def import_moments(
        self, path: str | Path, *, encoder: str, samples: int | None = None, name: str | None = None,
        replace: bool = False,
    ) -> Model:  # fmt: skip
        """Take in one model's ``mu`` and ``sigma`` from an ``.npz`` as FID tools write them.

        Args:
            encoder: what made the features, for example ``external:inception-2048``.
            samples: how many went into them, if the file (``n`` or ``samples``) does not say.
            name: default: the file's.
            replace: as for ``ingest``.

        Raises:
            SourceNotFound: there is no such file.
            InvalidInput: it holds something else, or nobody says how many samples there were, or the two differ.
            DuplicateName: the name is a model's from another source.
            InvalidStatistics: not finite, not symmetric or indefinite.
            EncoderMismatch: its dimension is not the encoder's.
        """
        path = checked_path(path)
        source = open_source(path, settings=self._session.settings)
        try:
            if not isinstance(source, MomentsSource):
                raise InvalidInput(f"{path.name} has no mu and sigma", hint="engine ingest reads other arrays")
            given = source if samples is None else source.with_samples(samples)
            if given.samples is None:
                raise InvalidInput(f"{path.name} does not say how many samples there were", hint="give --samples")
            result = ingest_source(
                self._session.catalog,
                self._session.settings,
                given,
                name=checked_name(name or source_to_name(path)),
                details={},
                encoder=None,
                identity=self._identity_for(encoder, given.mean.size),
                replace=replace,
                add=name is not None,
            )
        finally:
            source.close()
        return result.model

    def _identity_for(self, name: str, dimension: int) -> EncoderIdentity:
        from engine.errors import EncoderMismatch

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
        replace: bool = False,
        on_entry: OnEntry | None = None,
        on_outcome: OnOutcome | None = None,
    ) -> IngestReport:
        """Ingest every entry of a YAML or JSON Lines manifest; a bad entry is reported and the rest go on.

        Args:
            replace: for all entries, as for ``ingest``; an entry may say it for itself.
            on_entry: called with (number, entries, name) before each; may return an ``on_progress`` for it.
            on_outcome: called after each.

        Raises:
            InvalidManifest: the file as a whole cannot be read.
        """
        from engine.samples.manifest import ManifestError, read_manifest

        path = checked_path(path)
        entries = list(read_manifest(path))
        report = IngestReport()
        for number, entry in enumerate(entries, 1):
            name = entry.name or f"entry {number}"
            progress = on_entry(number, len(entries), name) if on_entry else None
            if isinstance(entry, ManifestError):
                outcome = IngestOutcome(name, "failed", error=entry.error)
            else:
                outcome = self._outcome(
                    name, entry.source, entry.name, entry.encoder or encoder, dict(entry.details()),
                    entry.samples, entry.seed, trust, progress, base=path.parent,
                    as_one=entry.as_one, replace=replace or entry.replace,
                )  # fmt: skip
            report.outcomes.append(outcome)
            if on_outcome:
                on_outcome(outcome)
        return report

    def ingest_each(
        self,
        /,
        folder: str | Path,
        *,
        on_entry: OnEntry | None = None,
        on_outcome: OnOutcome | None = None,
        **options: Any,
    ) -> IngestReport:
        """Ingest each folder directly in a folder as a model of its name; a bad one is reported and the rest go on.

        Run again, it goes on where it was interrupted. Pictures beside the folders are in no model.

        Args:
            on_entry: called with (number, folders, name) before each; may return an ``on_progress`` for it.
            on_outcome: called after each.
            **options: as for ``ingest``, without ``name``.

        Raises:
            SourceNotFound, InvalidInput: there is no such folder, or there are none in it.
        """
        from engine.samples.several import folder_to_folders

        report = IngestReport()
        folders = folder_to_folders(Path(folder).expanduser())
        for number, one in enumerate(folders, 1):
            progress = on_entry(number, len(folders), one.name) if on_entry else None
            outcome = self.ingest_outcome(one, name=one.name, on_progress=progress, **options)
            report.outcomes.append(outcome)
            if on_outcome:
                on_outcome(outcome)
        return report

    def ingest_outcome(
        self,
        /,
        source: Any,
        *,
        name: str | None = None,
        encoder: str | None = None,
        tags: Strings | None = None,
        description: str | None = None,
        samples: int | None = None,
        seed: int | None = None,
        trust: bool = False,
        as_one: bool = False,
        replace: bool = False,
        on_progress: OnProgress | None = None,
        **details: Any,
    ) -> IngestOutcome:
        """One of many: as ``ingest``, but it says what became of the model instead of raising.

        Lists of similar models wait for ``complete_neighbours``.
        """
        details = _details(tags, description, details)
        label = name if name is not None else str(source)
        return self._outcome(
            label, source, name, encoder, details, samples, seed, trust, on_progress, as_one=as_one, replace=replace
        )

    def _outcome(self, label: str, source: Any, name: str | None, *rest: Any, **options: Any) -> IngestOutcome:
        try:
            known = self._has(name if name is not None else source_to_name(source))
            result = self._ingest(source, name, *rest, **options, neighbours=False)
        except Exception as error:  # one of many: whatever it raises, the others go on
            return IngestOutcome(label, "failed", error=to_ingest_error(error))
        status = "unchanged" if not result.changed else "replaced" if known else "added"
        return IngestOutcome(result.model.name, status, result.model)

    def _has(self, name: str) -> bool:
        try:
            self._session.catalog.model(name)
        except ModelNotFound:
            return False
        return True

    def _encoder_for(self, name: str, source: Any) -> tuple[Encoder | None, EncoderIdentity]:
        """The encoder for a source; for features and moments only its identity is needed."""
        from engine.samples import FeatureSource

        if not isinstance(source, (FeatureSource, MomentsSource)):
            encoder = self._session.load_encoder(name)
            return encoder, encoder.identity
        return None, self._identity_of(
            name, source.mean.size if isinstance(source, MomentsSource) else source.dimension
        )

    def _identity_of(self, name: str, dimension: int) -> EncoderIdentity:
        """The collection's encoder of that name, one that is external with that dimension, or one that is loaded."""
        from engine.encoders import external_identity, is_external

        for identity in self._session.catalog.encoders().values():
            if identity.name == name:
                return identity
        return external_identity(name, dimension) if is_external(name) else self._session.load_encoder(name).identity


def _details(tags: Strings | None, description: str | None, details: dict[str, Any]) -> dict[str, Any]:
    unknown = [key for key in details if key not in (*DETAILS, "licence")]
    if unknown:
        taken = [*inspect.signature(IngestService.ingest).parameters][1:-1]
        hint = nearest(unknown[0], (*taken, *DETAILS), "what else there is to keep goes into metadata={…}")
        raise InvalidInput(f"ingest takes no argument {unknown[0]!r:.80}", hint=hint)
    given = {"tags": tags, "description": description}
    return details | {key: value for key, value in given.items() if value is not None}

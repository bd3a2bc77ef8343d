"""``Engine``: one collection of models, opened. The only object that most programs need."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from engine._evaluating import Evaluating
from engine._exchanging import Exchanging
from engine._exploring import Exploring
from engine._learning import Learning
from engine.config import DEFAULT_ENCODER, Settings
from engine.errors import Conflict, CorruptData, EngineError, MissingStatistics, TransformNotFound
from engine.filters import Where
from engine.numbers import LARGEST_SIZE
from engine.records import EncoderIdentity, Model, Models, Thumbnail
from engine.search.spaces import FIRST_MOMENT, LINEAR
from engine.search.transforms import AUTO
from engine.storage import Catalog, Database, migrate
from engine.storage.copying import refuse_unfinished
from engine.storage.keys import Keys
from engine.storage.paging import ModelPage, models_page

if TYPE_CHECKING:
    from PIL.Image import Image

    from engine.doctor import Finding
    from engine.exchange import ArchiveFile
    from engine.samples.generators import Stop

log = logging.getLogger("engine.search")


class Engine(Exchanging, Evaluating, Exploring, Learning):
    """A collection of generative models that can be searched by what they draw.

    Open one with ``Engine.open``; use it as a context manager, or call ``close``. Threads may share it.
    """

    # --- opening and closing

    @classmethod
    def open(
        cls,
        url: str,
        *,
        create: bool = False,
        encoder: str | None = None,
        settings: Settings | None = None,
    ) -> Engine:
        """Open a collection.

        Args:
            url: ``sqlite:///zoo.db``, ``sqlite:////absolute/zoo.db`` or ``postgresql://…``. ``?mode=ro`` opens a SQLite
                file for reading only.
            create: make the collection if it is not there; otherwise nothing is created.
            encoder: the default encoder of a collection that is created (``open_clip:ViT-B-32/openai``).
            settings: see ``Settings``.

        Raises:
            InvalidInput: the URL cannot be understood; the hint names the right spelling.
            DatabaseNotFound: there is none and ``create`` is false.
            DatabaseOutdated, DatabaseTooNew: its schema is not this engine's.
            Conflict: it is there, with another default encoder than the one given.
            UnfinishedCopy: a collection is being copied into it, or was in part.
            StorageError: it cannot be read.
        """
        settings = settings or Settings()
        if encoder is not None:
            from engine.encoders import parse_name

            parse_name(encoder)
        database = Database(url, settings, create=create)
        try:
            if create and migrate.current_revision(database) is None:
                migrate.upgrade(database)
            migrate.check(database)
            refuse_unfinished(database)
            if create:
                Catalog(database).initialise(encoder or DEFAULT_ENCODER)
            opened = cls(database, settings)
            if create and encoder not in (None, opened.default_encoder):
                raise Conflict(
                    f"the collection is there and its default encoder is {opened.default_encoder}, not {encoder}",
                    hint="name the encoder at each ingest and search, or start another collection",
                )
            return opened
        except BaseException:
            database.close()
            raise

    @classmethod
    def create_for(
        cls,
        archive: ArchiveFile,
        url: str,
        *,
        settings: Settings | None = None,
        on_progress: Callable[[str, int, int], None] | None = None,
    ) -> Engine:
        """A new collection for an archive, with its default encoder, once the archive has been found to be whole.

        Raises:
            InvalidArchive: it is not; nothing was created.
        """
        from engine.exchange import ArchiveReader

        ArchiveReader(archive).verify(None if on_progress is None else partial(on_progress, "verified"))
        return cls.open(url, create=True, encoder=archive.default_encoder, settings=settings)

    def close(self) -> None:
        """Publish the index's snapshot if it is stale, keep the factors that were made, and close the database."""
        if self._follower is not None:
            self._follower.stop()
        for encoder in self._together.values():
            encoder.close()
        self._views.publish_stale()
        self._evidence.stores.flush()
        self._database.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def refresh(self) -> None:
        """Let ``search_vectors`` see what other processes have committed (``search`` always does).

        Called by itself every ``settings.refresh_interval`` seconds.
        """
        with self._refreshing:  # one that began later must not be dropped for one that saw less
            before = self._fast
            try:
                fresh = {key: self._fast_plan(*key) for key in list(before)}  # a search may add one meanwhile
            except EngineError:  # for example, its transform is gone: whoever searches by it hears of it
                fresh = {}
            if self._fast is before:  # else this process has changed something meanwhile
                self._fast = fresh

    # --- models

    def models(self, where: Where | None = None) -> Models:
        """Models that a filter admits, by name: a list whose ``remarks`` name values that no model has.

        Args:
            where: a filter, see ``engine.filters``.

        Raises:
            InvalidFilter
        """
        return self._catalog.models(where)

    def remarks(self, where: Where | None) -> tuple[str, ...]:
        """Sentences about values of a filter that no model has, with those that were perhaps meant.

        ``models``, ``page``, ``search`` and ``export_archive`` answer with them; arrays have no place for them.

        Raises:
            InvalidFilter
        """
        return self._catalog.remarks(where)

    def page(
        self, where: Where | None = None, *, sort: str = "name", limit: int = 100, cursor: str | None = None
    ) -> ModelPage:
        """Models that a filter admits, page by page: ``page.next`` is the cursor of the page that follows.

        Args:
            sort: ``name``, ``created_at`` or ``updated_at``; with a ``-`` before it, falling.

        Raises:
            InvalidFilter, InvalidInput
        """
        return models_page(self._database, where, sort=sort, limit=limit, cursor=cursor)

    def get(self, name: str) -> Model:
        """The model of that name.

        Raises:
            ModelNotFound
        """
        return self._catalog.model(name)

    def update(self, name: str, /, **changes: Any) -> Model:
        """Change a model's metadata: ``name`` (renames), ``tags``, ``description``, ``kind``, ``author`` ….

        Raises:
            ModelNotFound, DuplicateName, InvalidInput
        """
        return self._catalog.update(name, changes)

    def remove(self, name: str) -> None:
        """Remove a model and all its data.

        Raises:
            ModelNotFound
        """
        self._catalog.remove(name)
        self._fast = {}

    def names(self, ids: Any) -> Any:
        """Names of models by their ids, in the shape of ``ids`` (a list, or nested lists); None where there is none."""
        array = np.asarray(ids, np.int64)
        known = self._catalog.names({int(i) for i in array.ravel() if i >= 0})
        named = np.empty(array.shape, object)
        for place, model_id in np.ndenumerate(array):
            named[place] = known.get(int(model_id))
        return named.tolist()

    def thumbnails(self, model: str | int) -> list[Thumbnail]:
        """A model's preview pictures, by its name, or by its id: none, then, where there is no such model.

        Their media types are those of their bytes; what is no WebP, PNG or JPEG is left out.

        Raises:
            ModelNotFound
        """
        from engine.samples.media import media_type

        if not isinstance(model, int):
            model = self._catalog.model(model).id
        found = self._catalog.thumbnails(model) if 0 <= model <= LARGEST_SIZE else []
        kinds = [media_type(one.data) for one in found]
        return [Thumbnail(one.data, kind) for one, kind in zip(found, kinds, strict=True) if kind is not None]

    def draw(self, name: str, count: int = 1, *, seed: int = 0, trust: bool = False) -> list[Image]:
        """Draw new images from the generator that a model was ingested from.

        Args:
            trust: draw although the generator is not trusted on this machine (see ``Engine.trust``), this once.

        Raises:
            MissingStatistics: the model was not ingested from a generator.
            NotTrusted: its generator runs code or opens files that are not trusted here, and ``trust`` is false.
            InvalidInput: ``count`` or ``seed`` is out of range.
            GeneratorError: it failed.
        """
        return list(self.drawing(name, count, seed=seed, trust=trust))

    def drawing(
        self, name: str, count: int = 1, *, seed: int = 0, trust: bool = False, code: bool = True,
        stop: Stop | None = None,
    ) -> Iterator[Image]:  # fmt: skip
        """As ``draw``, but images come as they are drawn; what is wrong with the model is raised at once.

        Args:
            code: whether generators that run code may be used where they are trusted.
            stop: bounds seconds and pixels, and can be cancelled.
        """
        from engine.samples.generators import drawing

        record = self._drawable(name, trust=trust, code=code)
        return drawing(record, count, seed, True, settings=self.settings, stop=stop)

    @property
    def index_folder(self) -> Path:
        """Where what is derived from the database lies, and what a server keeps beside it."""
        return self._views.root

    @property
    def places(self) -> tuple[str, ...]:
        """Where the collection lies, as messages may name it: files and folders, also absolute, the longest first."""
        path = self._database.path
        files = [self._views.root, self._views.root.parent, *([] if path is None else [path, path.parent])]
        forms = {str(form) for one in files for form in (one, one.absolute(), one.resolve())}
        return tuple(sorted(forms, key=len, reverse=True))

    @property
    def keys(self) -> Keys:
        """The API keys that callers of ``engine serve`` show."""
        return Keys(self._database)

    # --- encoders and the index

    def encoders(self) -> list[EncoderIdentity]:
        """Encoders whose statistics the collection holds."""
        return list(self._catalog.encoders().values())

    def index_status(self) -> list[dict[str, Any]]:
        """For each encoder and each of its spaces: what the index holds, how fresh it is, where its snapshot lies.

        The first moment's entry says besides what the files of factors and samples hold, how they were used, and how
        far two-stage searches agreed with the exhaustive density when ``build_index`` measured it.
        """
        from engine.search.status import files_to_status, view_to_status

        self._evidence.stores.flush()
        weight, found = self.settings.shrinkage, []
        for encoder_id, identity in self._catalog.encoders().items():
            for key, version in {FIRST_MOMENT: "", **self._maps.versions(encoder_id, weight)}.items():
                if key != LINEAR or self._has_linear(encoder_id, identity):
                    status = view_to_status(self._views, self._catalog, encoder_id, identity, key, version)
                    files = files_to_status(self._views, identity, weight) if key == FIRST_MOMENT else {}
                    found.append({**status, **files})
        return found

    def build_index(self, on_progress: Callable[[str, int, int], None] | None = None) -> list[dict[str, Any]]:
        """Rebuild every index from the database and publish it, and complete the lists of similar models.

        Whitenings are fitted again where statistics have changed. The files of factors and samples that the exact
        rules read are completed; a run that was interrupted goes on where it stopped. At last it is measured how far
        two-stage searches agree with the exhaustive density here: see ``index_status``.

        Args:
            on_progress: called with (stage, done, total).
        """
        for encoder_id, identity in self._catalog.encoders().items():
            self._views.rebuild(encoder_id, identity)
            with contextlib.suppress(MissingStatistics):  # one model, or no covariances: the other indexes do
                self._maps.whitened(encoder_id, identity, exactly=True)
            for transform in self._maps.indexed(encoder_id):
                try:
                    self._views.rebuild(encoder_id, identity, self._maps.space(transform))
                except TransformNotFound:  # another process has just replaced it
                    continue
                except CorruptData as error:  # searches by it say so; the other indexes do not wait for it
                    log.warning("%s", error)
            if self._has_linear(encoder_id, identity):
                with contextlib.suppress(MissingStatistics):
                    space = self._maps.linear(encoder_id, identity, self.settings.shrinkage)
                    self._views.rebuild(encoder_id, identity, space)
            told = None if on_progress is None else partial(on_progress, "similar models")
            self._complete(encoder_id, identity, on_progress=told)
            self._keep_factors(encoder_id, identity, on_progress)
            self._measure_agreement(encoder_id, identity)
        self._fast = {}
        return self.index_status()

    def _has_linear(self, encoder_id: int, identity: EncoderIdentity) -> bool:
        """Whether densities are searched as inner products here: the settings say so, or somebody has.

        The settings say so, too, of collections with more models than a shortlist takes.
        """
        wanted = self.settings.shortlist_space
        many = wanted == AUTO and self._catalog.statistics_count(encoder_id) > self.settings.shortlist
        return wanted == LINEAR or many or self._views.has(encoder_id, identity, LINEAR)

    def doctor(
        self, *, repair: bool = False, on_progress: Callable[[str, int, int], None] | None = None
    ) -> list[Finding]:
        """Compare everything stored with everything derived from it, id by id and by checksum.

        Database, transforms, index snapshots, files of factors and samples, lists of similar models, previews and
        checkpoints. Damage to one model's stored statistics concerns that model alone: whatever reads what is damaged
        leaves it out.

        Args:
            repair: make again, from the database, whatever is derived and damaged or behind, and examine again. The
                findings that this has mended come first, with ``repaired`` true. Nothing is changed in the statistics.
            on_progress: called with (stage, done, total).

        Returns:
            What was found; nothing where all is well.
        """
        from engine.doctor import Makers, Parts, examine
        from engine.doctor import repair as mend

        parts = Parts(
            self._database, self._catalog, self._views, self._evidence, self._neighbours, self._maps, self.settings
        )  # fmt: skip
        if not repair:
            return examine(parts, on_progress)
        encoders = self._catalog.encoders()

        def lists(encoder_id: int) -> None:
            told = None if on_progress is None else partial(on_progress, "similar models")
            self._complete(encoder_id, encoders[encoder_id], on_progress=told)

        def records(encoder_id: int) -> None:
            self._keep_factors(encoder_id, encoders[encoder_id], on_progress, verified=True)

        def agreement(encoder_id: int) -> None:
            self._measure_agreement(encoder_id, encoders[encoder_id])

        try:
            return mend(parts, Makers(lists, records, agreement), on_progress)
        finally:
            self._fast = {}

"""Which transform a search uses, and the spaces, maps and shrinkage that stored transforms stand for, by checksum."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence

from engine.errors import CorruptData, InvalidQuery, MissingStatistics, StorageError, TransformNotFound
from engine.records import EncoderRef, Transform
from engine.scores import CovarianceMap, Shrinkage, Whitening, matrix_to_covariance_map
from engine.search.rules import DEFAULTS, Rule
from engine.search.spaces import (
    FIRST_MOMENT,
    GAUSSIAN,
    LINEAR,
    WHITENED,
    Space,
    arrays_to_matrix,
    arrays_to_space,
    linear_version,
    transform_to_key,
    whitening_to_linear,
)
from engine.search.whitening import collection_to_whitening, is_fitted_to, is_outgrown
from engine.single_flight import SingleFlight
from engine.storage import Catalog, Transforms
from engine.storage.deadlines import unhurried
from engine.storage.search_facts import FactsReader, SearchFacts

log = logging.getLogger("engine.search")
AUTO = "auto"
ANY = "any"
ATTEMPTS = 5
"""To read a whitening that other processes keep replacing."""
AT_ONCE = 200
"""Models of a collection whose whitening is refitted while a search waits: a fraction of a second."""
LEARNED = (FIRST_MOMENT, GAUSSIAN)
"""The rules that a learned transform can serve."""


def preferred_method(active: Sequence[Transform], modality: str) -> str:
    """A query of one part's method: the default, or that of an active transform where the default has none."""
    default = DEFAULTS[modality]
    learned = sorted({one.method for one in active if one.modality in (modality, ANY)} & set(LEARNED))
    return default if modality == "model" or default in learned or not learned else learned[0]


class TransformCache:
    """The transforms of one collection, ready to be searched by. Threads may share it."""

    def __init__(
        self, catalog: Catalog, transforms: Transforms, facts: Callable[[], SearchFacts] | None = None
    ) -> None:
        """``facts`` reads the collection's facts as of now, for callers that have none."""
        self.catalog = catalog
        self.transforms = transforms
        self._read_facts = facts or FactsReader(catalog.database).read
        self._spaces: dict[str, Space] = {}
        self._whitenings: dict[str, tuple[Transform, Whitening]] = {}
        self._covariance_maps: dict[str, CovarianceMap] = {}
        self._pooled: dict[str, Shrinkage] = {}
        self._linear: dict[str, tuple[float, Space]] = {}
        self._fits: SingleFlight[Space] = SingleFlight()
        self._refits: dict[int, threading.Thread] = {}
        self._refused: dict[int, int] = {}

    def chosen(
        self, given: str | None, encoder: EncoderRef, rule: Rule, modalities: Sequence[str], active: Sequence[Transform]
    ) -> Transform | None:
        """The learned transform for a query of these parts, or None for none.

        ``auto`` takes the ``active`` one of the rule and modality, else that of ``any`` modality. A query of several
        parts has one only if it is the same for each part; a model's own mean is never transformed.

        Raises:
            TransformNotFound: ``given`` names none.
            InvalidQuery: it is of another encoder, method or modality.
        """
        if given is None or (given == AUTO and rule.name not in LEARNED):
            return None
        if given == AUTO:
            own = {one.modality: one for one in active if one.method == rule.name}
            found = [None if part == "model" else own.get(part, own.get(ANY)) for part in modalities]
            return found[0] if len({one and one.id for one in found}) == 1 else None
        transform = self.transforms.get(given)
        if transform.encoder_id != encoder.id:
            raise InvalidQuery(f"the transform {given} is of another encoder", hint="engine transforms list")
        if transform.method != rule.name or transform.method not in LEARNED:
            raise InvalidQuery(
                f"the transform {given} cannot serve {rule.name}", hint=f"search with method {transform.method}"
            )
        fitting = {*modalities} if transform.modality == ANY else {transform.modality}
        if {*modalities} != fitting or "model" in modalities:
            raise InvalidQuery(
                f"the transform {given} is for {transform.modality} queries, and this one has {', '.join(modalities)}",
                hint="leave the transform out",
            )
        return transform

    def space(self, transform: Transform) -> Space:
        """The space of a transform of first moments.

        Raises:
            CorruptData: what is stored does not match its checksum.
        """
        space = self._spaces.get(transform.checksum)
        if space is None or space.transform != transform.name:
            arrays = self.transforms.arrays(transform)
            space = arrays_to_space(transform, arrays)
            self._spaces[transform.checksum] = space
            if transform.method == WHITENED:
                self._whitenings[transform.checksum] = transform, Whitening.from_arrays(arrays)
        return space

    def covariance_map(self, transform: Transform) -> CovarianceMap:
        """The map of a transform of densities.

        Raises:
            CorruptData: what is stored does not match its checksum.
        """
        found = self._covariance_maps.get(transform.checksum)
        if found is None:
            found = matrix_to_covariance_map(arrays_to_matrix(self.transforms.arrays(transform)))
            self._covariance_maps[transform.checksum] = found
        return found

    def whitened(self, encoder: EncoderRef, facts: SearchFacts | None = None, *, exactly: bool = False) -> Space:
        """The whitened space of a collection, fitted if there is none.

        When the collection has twice as many models as the whitening was fitted to, it is refitted: while the search
        waits in a collection of up to ``AT_ONCE`` models, beside the searches in a larger one. The stale whitening is
        used until then, and where the new one cannot be stored: a search needs no right to write. ``exactly`` refits
        it at once if any statistics have changed.

        Raises:
            MissingStatistics: there are fewer than two models, or none with a covariance.
        """
        for _ in range(ATTEMPTS):
            with contextlib.suppress(TransformNotFound):  # another process has just replaced it
                return self._whitened(encoder, facts or self._read_facts(), exactly)
            facts = None
        return self._whitened(encoder, self._read_facts(), exactly)

    def _whitened(self, encoder: EncoderRef, facts: SearchFacts, exactly: bool) -> Space:
        whitening, count = _whitening_of(facts, encoder), facts.counts[encoder.id]
        if whitening is None or (is_outgrown(whitening, count) and self._refused.get(encoder.id) != count):
            facts = self._read_facts()  # it may have been fitted since
            whitening, count = _whitening_of(facts, encoder), facts.counts[encoder.id]
        if whitening is None:
            return self._fit(encoder)
        try:
            stored = self.space(whitening)
        except CorruptData as error:
            log.warning("%s; fitting it again", error)
            return self._fit(encoder)
        if exactly:
            return stored if is_fitted_to(whitening, self.catalog) else self._fit(encoder)
        if is_outgrown(whitening, count) and self._refused.get(encoder.id) != count:
            if count <= AT_ONCE:
                return self._refit(encoder, count) or stored
            self._refit_beside(encoder, count)
        return stored

    def _fit(self, encoder: EncoderRef) -> Space:
        """Fit a whitening and store it; threads that want it meanwhile wait for it."""

        def fit() -> Space:
            with unhurried():
                return self.space(collection_to_whitening(self.catalog, self.transforms, encoder))

        return self._fits.run(encoder.id, fit)

    def _refit(self, encoder: EncoderRef, count: int) -> Space | None:
        """Replace a stale whitening; None where that is not possible, which is not tried again for so many models."""
        try:
            return self._fit(encoder)
        except StorageError as error:
            self._refused[encoder.id] = count
            log.warning("using a stale whitening: %s", error)
            return None

    def _refit_beside(self, encoder: EncoderRef, count: int) -> None:
        running = self._refits.get(encoder.id)
        if running is None or not running.is_alive():
            thread = threading.Thread(target=self._refit, args=(encoder, count), name="refit whitening", daemon=True)
            self._refits[encoder.id] = thread
            thread.start()

    def wait(self) -> None:
        """Until no whitening is being refitted."""
        for thread in list(self._refits.values()):
            thread.join()

    def linear(self, encoder: EncoderRef, weight: float, facts: SearchFacts | None = None) -> Space:
        """The space in which densities of covariances shrunk by ``weight`` are inner products.

        Raises:
            MissingStatistics: there are fewer than two models, or none with a covariance.
        """
        transform, whitening = self._whitenings[self.whitened(encoder, facts).version]
        found = self._linear.get(transform.checksum)
        if found is None or found[0] != weight or found[1].transform != transform.name:
            found = self._linear[transform.checksum] = weight, whitening_to_linear(transform, whitening, weight)
        return found[1]

    def shrinkage(self, encoder: EncoderRef, weight: float, facts: SearchFacts | None = None) -> Shrinkage | None:
        """What densities' covariances are drawn toward: the pooled covariance behind the collection's whitening.

        None with weight 0, where there can be no whitening (one model), and where a first one cannot be stored: a
        search needs no right to write.
        """
        if weight == 0:
            return None
        try:
            space = self.whitened(encoder, facts)
        except MissingStatistics:
            return None
        except StorageError as error:
            if _whitening_of(self._read_facts(), encoder) is not None:
                raise  # the database went away meanwhile: that is no reason to score by another rule
            log.warning("densities use each model's own covariance alone: %s", error)
            return None
        found = self._pooled.get(space.version)
        if found is None or found.weight != weight:
            pooled = self._whitenings[space.version][1].covariance()
            found = self._pooled[space.version] = Shrinkage(pooled, weight, space.version)
        return found

    def indexed(self, encoder_id: int) -> list[Transform]:
        """The active transforms that have an index of their own."""
        return [one for one in self.transforms.active(encoder_id) if one.method in (FIRST_MOMENT, WHITENED)]

    def versions(self, encoder_id: int, weight: float) -> dict[str, str]:
        """Every space that the active transforms can make, by key, with the version that its index should be of."""
        active = self.indexed(encoder_id)
        found = {transform_to_key(one): one.checksum for one in active}
        for one in active:
            if one.method == WHITENED:
                found[LINEAR] = linear_version(one, weight)
        return found


def _whitening_of(facts: SearchFacts, encoder: EncoderRef) -> Transform | None:
    """The whitening that searches use, if there is one."""
    return next((one for one in facts.active.get(encoder.id, ()) if one.method == WHITENED), None)

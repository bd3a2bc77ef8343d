"""Which transform a search uses, and the spaces and maps that stored transforms are: read once, kept by checksum."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Sequence

from engine.errors import CorruptData, InvalidQuery, MissingStatistics, StorageError, TransformNotFound
from engine.records import EncoderIdentity, Transform
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
from engine.search.whitening import active_whitening, collection_to_whitening, is_fitted_to, is_outgrown
from engine.storage import Catalog, Transforms
from engine.storage.deadlines import unhurried

log = logging.getLogger("engine.search")
AUTO = "auto"
ANY = "any"
ATTEMPTS = 5
"""To read a whitening that other processes keep replacing."""
LEARNED = (FIRST_MOMENT, GAUSSIAN)
"""The rules that a learned transform can serve."""


def preferred_method(active: Sequence[Transform], modality: str) -> str:
    """A query of one part's method: the default, or that of an active transform where the default has none."""
    default = DEFAULTS[modality]
    learned = sorted({one.method for one in active if one.modality in (modality, ANY)} & set(LEARNED))
    return default if modality == "model" or default in learned or not learned else learned[0]


class TransformCache:
    """The transforms of one collection, ready to be searched by. Threads may share it."""

    def __init__(self, catalog: Catalog, transforms: Transforms) -> None:
        self.catalog = catalog
        self.transforms = transforms
        self._spaces: dict[str, Space] = {}
        self._whitenings: dict[str, tuple[Transform, Whitening]] = {}
        self._covariance_maps: dict[str, CovarianceMap] = {}
        self._pooled: dict[str, Shrinkage] = {}
        self._linear: dict[str, tuple[float, Space]] = {}
        self._lock = threading.Lock()

    def chosen(
        self,
        given: str | None,
        encoder_id: int,
        rule: Rule,
        modalities: Sequence[str],
        active: Sequence[Transform] | None = None,
    ) -> Transform | None:
        """The learned transform for a query of these parts, or None for none.

        ``active`` are the encoder's, where they have been read already.

        ``auto`` takes the active one of the rule and modality, else that of ``any`` modality. A query of several
        parts has one only if it is the same for each part; a model's own mean is never transformed.

        Raises:
            TransformNotFound: ``given`` names none.
            InvalidQuery: it is of another encoder, method or modality.
        """
        if given is None or (given == AUTO and rule.name not in LEARNED):
            return None
        if given == AUTO:
            active = self.transforms.active(encoder_id) if active is None else active
            own = {one.modality: one for one in active if one.method == rule.name}
            found = [None if part == "model" else own.get(part, own.get(ANY)) for part in modalities]
            return found[0] if len({one and one.id for one in found}) == 1 else None
        transform = self.transforms.get(given)
        if transform.encoder_id != encoder_id:
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

    def whitened(self, encoder_id: int, identity: EncoderIdentity, *, exactly: bool = False) -> Space:
        """The whitened space of a collection, fitted when there is none or the collection has outgrown it.

        ``exactly`` fits it again as soon as any statistics have changed. One that is outgrown serves on where the new
        one cannot be stored: a search needs no right to write.

        Raises:
            MissingStatistics: there are fewer than two models, or none with a covariance.
        """
        with unhurried(), self._lock:
            for _ in range(ATTEMPTS):
                with contextlib.suppress(TransformNotFound):  # another process has just replaced it
                    return self._whitened(encoder_id, identity, exactly)
            return self._whitened(encoder_id, identity, exactly)

    def _whitened(self, encoder_id: int, identity: EncoderIdentity, exactly: bool) -> Space:
        outgrown = None
        whitening = active_whitening(self.transforms, encoder_id)
        if whitening is not None:
            stale = not is_fitted_to(whitening, self.catalog) if exactly else is_outgrown(whitening, self.catalog)
            try:
                if not stale:
                    return self.space(whitening)
                outgrown = None if exactly else self.space(whitening)
            except CorruptData as error:
                log.warning("%s; fitting it again", error)
        try:
            return self.space(collection_to_whitening(self.catalog, self.transforms, encoder_id, identity))
        except StorageError as error:
            if outgrown is None:
                raise
            log.warning("a whitening that the collection has outgrown serves on: %s", error)
            return outgrown

    def _whitening_of(self, space: Space) -> tuple[Transform, Whitening]:
        """The whitening behind its space, as it was read with it: what is stored may have been replaced meanwhile."""
        return self._whitenings[space.version]

    def linear(self, encoder_id: int, identity: EncoderIdentity, weight: float) -> Space:
        """The space in which densities of covariances shrunk by ``weight`` are inner products.

        Raises:
            MissingStatistics: there are fewer than two models, or none with a covariance.
        """
        transform, whitening = self._whitening_of(self.whitened(encoder_id, identity))
        found = self._linear.get(transform.checksum)
        if found is None or found[0] != weight or found[1].transform != transform.name:
            found = self._linear[transform.checksum] = weight, whitening_to_linear(transform, whitening, weight)
        return found[1]

    def shrinkage(self, encoder_id: int, identity: EncoderIdentity, weight: float) -> Shrinkage | None:
        """What densities' covariances are drawn toward: the pooled covariance behind the collection's whitening.

        None with weight 0, where there can be no whitening (one model), and where a first one cannot be stored: a
        search needs no right to write.
        """
        if weight == 0:
            return None
        try:
            space = self.whitened(encoder_id, identity)
        except MissingStatistics:
            return None
        except StorageError as error:
            if active_whitening(self.transforms, encoder_id) is not None:
                raise  # the database went away meanwhile: that is no reason to score by another rule
            log.warning("densities use each model's own covariance alone: %s", error)
            return None
        found = self._pooled.get(space.version)
        if found is None or found.weight != weight:
            pooled = self._whitening_of(space)[1].covariance()
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

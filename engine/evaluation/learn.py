"""Learning a collection's transforms from judged queries, and keeping them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import InvalidInput, InvalidQuery, MissingStatistics
from engine.records import EncoderIdentity, EncoderRef, Transform
from engine.rerank.statistics_cache import StatisticsCache
from engine.scores import matrix_to_covariance_map
from engine.search.rules import method_to_rule
from engine.search.spaces import FIRST_MOMENT, LINEAR, WHITENED, transform_to_key
from engine.search.transforms import ANY, TransformCache
from engine.search.views import IndexViews
from engine.session import Session

if TYPE_CHECKING:
    from engine.evaluation.queries import JudgedQuery
    from engine.learning import TrainingOptions, TrainingSet

MODALITIES = ("image", "sketch", "text", ANY)
OnLearning = Callable[[str, int, int], None]
"""Called with a stage, how much of it is done, and how much there is."""


class LearningService:
    """Learns one collection's transforms from judged queries, and keeps them."""

    def __init__(
        self, session: Session, views: IndexViews, transforms: TransformCache, statistics: StatisticsCache
    ) -> None:
        self._session = session
        self._views = views
        self._cache = transforms
        self._transforms = transforms.transforms
        self._statistics = statistics

    def learn(
        self,
        queries: str | Path | Sequence[Mapping[str, Any]],
        *,
        method: str = "first_moment",
        modality: str = "sketch",
        parameterisation: str = "triangular",
        encoder: str | None = None,
        folds: int = 5,
        seed: int = 0,
        temperature: float | None = None,
        learn_temperature: bool = False,
        force: bool = False,
        on_progress: OnLearning | None = None,
    ) -> Transform:
        """Learn a transform from judged queries, measure it on models that it has not seen, and store it.

        Searches of that method and modality use it by themselves from then on, if it is *better*: top-1 accuracy
        over the held-out models of a cross-validation is higher than that of the features as they are, and stays so
        in 95 % of the resamples of a paired bootstrap over models.

        Args:
            queries: a JSON Lines file, or a list of mappings, with ``model`` and one of ``text``, ``image``,
                ``sketch``. Those of other modalities, mixed ones, and those with several right models, are left out.
            method: ``first_moment`` or ``gaussian_density`` (for which the covariances of all models are held in
                memory).
            modality: ``image``, ``sketch`` or ``text``; or ``any`` for one transform of all three.
            parameterisation: ``diagonal``, ``triangular`` or ``full``.
            folds: of the cross-validation over models.
            seed: of the folds, the validation models and the batches.
            temperature: τ of the training loss (default: the encoder's own).
            learn_temperature: train τ along with the transform.
            force: use it even if it is not better.
            on_progress: called with a stage, how much of it is done, and how much there is.

        Returns:
            What was stored; its ``report`` has ``chance``, ``pretrained`` and ``learned`` accuracies, intervals, the
            folds, and how it was trained.

        Raises:
            InvalidInput: an option is not possible, or there are too few judged models for the folds.
            InvalidQuery, InvalidImage, SourceNotFound, ModelNotFound, EncoderNotFound
            MissingStatistics: a judged model lacks what the method needs.
        """
        from engine.encoders import resolve_device
        from engine.learning import TrainingOptions, cross_validate, train_on_all
        from engine.learning.parameterisations import matrix_to_arrays

        if modality not in MODALITIES:
            raise InvalidInput(f"modality must be one of {', '.join(MODALITIES)}, got {modality!r}")
        options = TrainingOptions(
            method, parameterisation, temperature, learn_temperature, seed=seed,
            device=resolve_device(self._session.settings.device),
        )  # fmt: skip
        if modality != ANY and modality not in method_to_rule(method).modalities:
            raise InvalidInput(f"{method} cannot score a {modality} query")
        tell = on_progress or _silent
        ref = self._session.encoder(encoder)
        encoder_id, identity = ref
        data = self._training_set(queries, method, modality, ref, tell)
        report = cross_validate(data, options, folds, on_fold=lambda done, all_: tell("folds", done, all_)).report()
        trained = train_on_all(data, options)
        tell("training", 1, 1)
        if method != FIRST_MOMENT:
            matrix_to_covariance_map(trained.matrix)  # refuses a singular one before it is stored
        report |= {
            **_described(data, options, identity),
            "epoch": trained.epoch,
            "epochs": len(trained.history) - 1,
            "temperature": trained.temperature,
            "validation": max(trained.history),
            "shrinkage": None if method == FIRST_MOMENT else self._session.settings.shrinkage,
            "forced": force,
        }
        arrays = matrix_to_arrays(parameterisation, trained.matrix)
        activate = bool(report["better"]) or force
        added = self._transforms.add(
            encoder_id, method, modality, parameterisation, arrays, report, activate=activate
        )  # fmt: skip
        return added

    def transforms(self) -> list[Transform]:
        """Every stored transform, by name."""
        return self._transforms.all()

    def activate_transform(self, name: str) -> Transform:
        """Let searches of its method and modality use it by themselves.

        Raises:
            TransformNotFound
            InvalidInput: it is a whitening, which its own method always uses.
            CorruptData: it is damaged.
        """
        self._refuse_whitening(name)
        self._transforms.arrays(self._transforms.get(name))
        return self._transforms.activate(name)

    def deactivate_transform(self, name: str) -> Transform:
        """Keep it, but let searches use it only when it is named.

        Raises:
            TransformNotFound
            InvalidInput: it is a whitening, which its own method always uses.
        """
        self._refuse_whitening(name)
        return self._transforms.deactivate(name)

    def remove_transform(self, name: str) -> None:
        """Forget a transform and its index.

        Raises:
            TransformNotFound
        """
        removed = self._transforms.remove(name)
        if removed.method in (FIRST_MOMENT, WHITENED):
            encoder = EncoderRef(removed.encoder_id, self._session.catalog.encoders()[removed.encoder_id])
            self._views.forget(encoder, transform_to_key(removed))
            if removed.method == WHITENED:
                self._views.forget(encoder, LINEAR)

    def _refuse_whitening(self, name: str) -> None:
        if self._transforms.get(name).method == WHITENED:
            raise InvalidInput(
                f"{name} is what the method {WHITENED} searches by; it has no use besides",
                hint=f"search with method {WHITENED}, or not",
            )

    def _training_set(
        self,
        source: str | Path | Sequence[Mapping[str, Any]],
        method: str,
        modality: str,
        encoder: EncoderRef,
        tell: OnLearning,
    ) -> TrainingSet:
        from engine.evaluation.encoding import queries_to_parts
        from engine.evaluation.queries import check_models, read_queries
        from engine.learning import TrainingSet

        alone = [query for query in read_queries(source) if len(query.given) == len(query.models) == 1]
        judged = [query for query in alone if modality in (query.modality, ANY)]
        if not judged:
            raise InvalidQuery(
                f"there are no judged queries of modality {modality} alone with one right model",
                hint="name a modality that the file has",
            )
        names = {model.name: model.id for model in self._session.catalog.models()}
        check_models(judged, names)
        identity = encoder.identity
        view = self._views.current(encoder)
        inverses = log_dets = None
        if method == FIRST_MOMENT:
            ids = np.sort(view.index.ids)
            means = view.index.vectors(ids)
        else:
            toward = self._cache.shrinkage(encoder, self._session.settings.shrinkage)  # as searches do
            factors = self._statistics.factors(encoder.id, view.index.ids.tolist(), toward)
            ids = np.array(sorted(factors), np.int64)
            means = np.stack([factors[i].mean for i in ids.tolist()])
            inverses = np.stack([factors[i].inverse for i in ids.tolist()])
            log_dets = np.array([factors[i].log_det for i in ids.tolist()])
        owners = _rows(judged, names, ids, method, identity)
        parts, _ = queries_to_parts(
            judged, identity, lambda: self._session.query_encoder(identity), self._session.settings.max_pixels, tell
        )
        features = np.stack([one[0].feature for one in parts])
        return TrainingSet(features, owners, means, inverses, log_dets, identity.logit_scale)


def _rows(
    judged: Sequence[JudgedQuery], names: Mapping[str, int], ids: Any, method: str, identity: EncoderIdentity
) -> Any:
    rows = {int(model_id): row for row, model_id in enumerate(ids)}
    for query in judged:
        if names[query.models[0]] not in rows:
            raise MissingStatistics(
                f"{query.place}: {query.models[0]!r} lacks what {method} needs under {identity.name}",
                hint="ingest it with that encoder, or leave its queries out",
            )
    return np.array([rows[names[query.models[0]]] for query in judged], np.int64)


def _described(data: TrainingSet, options: TrainingOptions, identity: EncoderIdentity) -> dict[str, Any]:
    return {
        "queries": len(data.queries),
        "models": len(data.judged()),
        "collection": len(data.means),
        "data": data.digest(),
        "fingerprint": identity.fingerprint,
        "options": asdict(options),
    }


def _silent(stage: str, done: int, total: int) -> None:
    """Say nothing."""

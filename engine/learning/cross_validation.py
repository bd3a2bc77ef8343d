"""How well a learned transform does on models that it has never seen: k-fold cross-validation over models.

Folds are of models, never of queries of the same model. Each held-out query is ranked among all models of the
collection, by the pre-trained features and by what was learned from the other folds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import InvalidInput
from engine.learning.options import TrainingOptions
from engine.learning.ranks import CONFIDENCE, TOP, chance_top, interval, ranks_to_top, resampled_top
from engine.learning.scores import scores_of
from engine.learning.training import rank_queries, train
from engine.learning.training_set import Int64, TrainingSet
from engine.numbers import checked_whole

OnFold = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Fold:
    """One fold: rows of its held-out models, and the ranks of their queries before and after learning."""

    models: Int64
    owners: Int64
    pretrained: Int64
    learned: Int64
    epoch: int

    def report(self, models: int) -> dict[str, Any]:
        """JSON; ``models`` is the size of the collection."""
        return {
            "models": len(self.models),
            "queries": len(self.owners),
            "epoch": self.epoch,
            "chance": _named(chance_top(models)),
            "pretrained": _named(ranks_to_top(self.pretrained)),
            "learned": _named(ranks_to_top(self.learned)),
        }


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Every fold, over a collection of so many ``models``."""

    folds: tuple[Fold, ...]
    models: int
    seed: int

    def report(self) -> dict[str, Any]:
        """All folds together, JSON: accuracies, their intervals, the gain, and whether it can be believed."""
        owners = np.concatenate([fold.owners for fold in self.folds])
        ranks = {
            "pretrained": np.concatenate([fold.pretrained for fold in self.folds]),
            "learned": np.concatenate([fold.learned for fold in self.folds]),
        }
        resampled = {k: resampled_top(ranks, owners, k, self.seed) for k in TOP}
        gains = {k: resampled[k]["learned"] - resampled[k]["pretrained"] for k in TOP}
        gained = float((ranks["learned"] <= 1).mean() - (ranks["pretrained"] <= 1).mean())
        return {
            "chance": _named(chance_top(self.models)),
            **{name: _named(ranks_to_top(own)) for name, own in ranks.items()},
            "intervals": {
                **{name: {f"top_{k}": interval(resampled[k][name]) for k in TOP} for name in ranks},
                "gain": {f"top_{k}": interval(gains[k]) for k in TOP},
            },
            "better": bool(gained > 0 and (gains[1] > 0).mean() >= CONFIDENCE),
            "folds": [fold.report(self.models) for fold in self.folds],
        }


def cross_validate(
    data: TrainingSet, options: TrainingOptions, folds: int = 5, *, on_fold: OnFold | None = None
) -> CrossValidation:
    """Hold out each fold of models in turn and learn from the rest.

    Raises:
        InvalidInput: there are fewer folds than two, or fewer judged models than folds and one more.
    """
    import torch

    judged = data.judged()
    folds = checked_whole(folds, "the number of folds", 2)
    if len(judged) <= folds:
        raise InvalidInput(
            f"{folds} folds need queries of more than {folds} models, got {len(judged)}",
            hint="judge queries of more models, or ask for fewer folds",
        )
    scores = scores_of(options.method, data, options.device)
    identity = torch.eye(data.dimension, device=options.device)
    parts = np.array_split(np.random.default_rng(options.seed).permutation(judged), folds)
    done = []
    for held_out in parts:
        trained = train(data, options, np.setdiff1d(judged, held_out), scores)
        places = data.places_of(held_out)
        matrix = torch.as_tensor(trained.matrix, device=options.device)
        done.append(
            Fold(
                np.sort(held_out),
                data.owners[places],
                rank_queries(data, identity, scores, places),
                rank_queries(data, matrix, scores, places),
                trained.epoch,
            )
        )
        if on_fold is not None:
            on_fold(len(done), folds)
    return CrossValidation(tuple(done), len(data.means), options.seed)


def _named(accuracies: dict[int, float]) -> dict[str, float]:
    return {f"top_{k}": value for k, value in accuracies.items()}

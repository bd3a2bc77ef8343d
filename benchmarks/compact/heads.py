"""The trainable part: a head on each frozen side, and the contrastive loss that ties them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

DIMENSION = 256


@dataclass(frozen=True)
class Recipe:
    """What is chosen on the validation concepts."""

    image_hidden: int = 768
    text_hidden: int = 384
    dropout: float = 0.2
    weight_decay: float = 0.05
    learning_rate: float = 1e-3
    steps: int = 1500
    batch: int = 512
    sketch_share: float = 0.35
    text_weight: float = 1.0
    image_scale: float = 30.0


class Head(nn.Module):
    """Standardised features ``(n, f)`` to ``(n, 256)`` of unit norm: linear, or with one hidden ReLU layer."""

    def __init__(self, features: Tensor, hidden: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", features.mean(dim=0))
        self.register_buffer("scale", features.std(dim=0) + 1e-3)
        self.dropout = nn.Dropout(dropout)
        width = features.shape[1]
        self.first = nn.Linear(width, hidden or DIMENSION)
        self.second = nn.Linear(hidden, DIMENSION) if hidden else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.dropout((x - self.mean) / self.scale))
        if self.second is not None:
            x = self.second(self.dropout(functional.relu(x)))
        return functional.normalize(x, dim=-1)

    def folded(self) -> dict[str, Tensor]:
        """Weights with the standardisation folded in: ``first.weight``, ``first.bias`` and, if hidden, ``second.*``."""
        weight = self.first.weight / self.scale
        layers = {"first.weight": weight, "first.bias": self.first.bias - weight @ self.mean}
        if self.second is not None:
            layers |= {"second.weight": self.second.weight, "second.bias": self.second.bias}
        return {name: tensor.detach().float().contiguous() for name, tensor in layers.items()}


def contrastive(a: Tensor, b: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE of matched rows ``(n, 256)``."""
    logits = scale * a @ b.T
    target = torch.arange(len(a))
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


@dataclass
class Pictures:
    """Frozen features of every view: ``features`` ``(concept, artist, view, f)`` float16, ``there`` its mask."""

    features: NDArray[np.float16]
    there: NDArray[np.bool_]


def two_artists(there: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.int64]:
    """Two artists ``(n, 2)`` who drew each concept, different where there are two; ``there`` ``(n, artists)``."""
    order = np.argsort(np.where(there, random.random(there.shape), 2.0), axis=1)[:, :2]
    alone = there.sum(axis=1) < 2
    order[alone, 1] = order[alone, 0]
    return order


def train_heads(
    pictures: Pictures,
    captions: list[NDArray[np.float32]],
    concepts: NDArray[np.int64],
    recipe: Recipe,
    seed: int,
    *,
    sketch_views: tuple[int, ...],
) -> tuple[Head, Head, float]:
    """Train on the given concepts; the image head, the text head and the logit scale."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    views = pictures.features.shape[2]
    plain = [view for view in range(views) if view not in sketch_views]
    chances = np.zeros(views)
    chances[list(sketch_views)] = recipe.sketch_share / len(sketch_views)
    chances[plain] = (1 - recipe.sketch_share) / len(plain)
    sample = pictures.features[concepts][pictures.there[concepts]].reshape(-1, pictures.features.shape[-1])
    image_head = Head(
        torch.from_numpy(sample[:: max(1, len(sample) // 20_000)].astype(np.float32)),
        recipe.image_hidden,
        recipe.dropout,
    )
    text_head = Head(
        torch.from_numpy(np.concatenate([captions[c] for c in concepts])), recipe.text_hidden, recipe.dropout
    )
    log_scale = nn.Parameter(torch.tensor(float(np.log(14.0))))
    parameters = [*image_head.parameters(), *text_head.parameters()]
    optimiser = torch.optim.AdamW(
        [{"params": parameters, "weight_decay": recipe.weight_decay}, {"params": [log_scale], "weight_decay": 0.0}],
        lr=recipe.learning_rate,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1
    )
    for _ in range(recipe.steps):
        batch = random.choice(concepts, min(recipe.batch, len(concepts)), replace=False)
        pairs = two_artists(pictures.there[batch], random)
        chosen = random.choice(views, (len(batch), 2), p=chances)
        one = torch.from_numpy(pictures.features[batch, pairs[:, 0], chosen[:, 0]].astype(np.float32))
        two = torch.from_numpy(pictures.features[batch, pairs[:, 1], chosen[:, 1]].astype(np.float32))
        words = torch.from_numpy(np.stack([captions[c][random.integers(len(captions[c]))] for c in batch]))
        a, b, t = image_head(one), image_head(two), text_head(words)
        scale = log_scale.exp().clamp(max=100.0)
        pictured = contrastive(a, b, recipe.image_scale)
        loss = pictured + recipe.text_weight * (contrastive(t, a, scale) + contrastive(t, b, scale)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return image_head.eval(), text_head.eval(), float(log_scale.exp().clamp(max=100.0))

"""The zoo as arrays: its models' statistics and samples, and its judged queries, encoded once and kept."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from engine import Engine
from engine.encoders import load_encoder
from engine.encoders.protocol import Encoder, images_to_features
from engine.samples import any_to_image
from engine.scores import unit

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
TEMPLATES = ("{}", "an image of {}", "a photo of {}", "a picture of {}", "a drawing of {}", "an icon of {}")
"""Phrasings of a text; the second and the third are the papers'."""


@dataclass(frozen=True)
class Models:
    """``n`` models: facts by position, ``features[i]`` ``(samples, d)`` float32 of unit norm in order of drawing."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    parts: tuple[str, ...]
    styles: tuple[str, ...]
    concepts: tuple[str | None, ...]
    tags: tuple[frozenset[str], ...]
    descriptions: tuple[str, ...]
    features: tuple[Float32, ...]
    scale: float

    def __len__(self) -> int:
        return len(self.names)

    def part(self, part: str) -> Models:
        """The models of one part."""
        return self.take([i for i, own in enumerate(self.parts) if own == part])

    def take(self, places: Sequence[int]) -> Models:
        """The models at these places."""
        pick = lambda values: tuple(values[i] for i in places)  # noqa: E731
        return Models(
            pick(self.names), pick(self.kinds), pick(self.parts), pick(self.styles), pick(self.concepts),
            pick(self.tags), pick(self.descriptions), pick(self.features), self.scale,
        )  # fmt: skip


@dataclass(frozen=True)
class Queries:
    """``q`` queries of one modality and group: ``features`` ``(q, d)``, the names of each one's right answers.

    ``owners`` is what a query is resampled with: its model's name, or its concept. ``how`` says how a sketch was made.
    """

    modality: str
    group: str
    features: Float32
    right: tuple[tuple[str, ...], ...]
    owners: tuple[str, ...]
    how: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.right)

    def among(self, models: Models) -> Queries:
        """Those that have a right answer among these models."""
        names = set(models.names)
        return self.take([i for i, right in enumerate(self.right) if names & set(right)])

    def take(self, places: Sequence[int]) -> Queries:
        """The queries at these places."""
        pick = lambda values: tuple(values[i] for i in places)  # noqa: E731
        picked = self.features[np.asarray(places, np.int64)]
        return replace(self, features=picked, right=pick(self.right), owners=pick(self.owners), how=pick(self.how))

    def targets(self, models: Models) -> Bool:
        """``(q, n)``: which models are right."""
        places = {name: i for i, name in enumerate(models.names)}
        result = np.zeros((len(self), len(models)), bool)
        for row, right in enumerate(self.right):
            result[row, [places[name] for name in right if name in places]] = True
        return result


def load_models(folder: Path, encoder: str = "compact") -> Models:
    """Every model of ``folder/zoo.db`` under an encoder."""
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}") as eng:
        encoder_id, identity = eng.services.session.encoder(encoder)
        listed = eng.models()
        features: dict[int, Float32] = {}
        for start in range(0, len(listed), 32):
            found, damaged = eng.services.catalog.sample_features(
                encoder_id, [m.id for m in listed[start : start + 32]]
            )
            assert not damaged, damaged
            features |= found
    listed = [model for model in listed if model.id in features]
    facts = [dict(model.metadata) for model in listed]
    return Models(
        names=tuple(model.name for model in listed),
        kinds=tuple(model.kind for model in listed),
        parts=tuple(str(fact["part"]) for fact in facts),
        styles=tuple(str(fact["style"]) for fact in facts),
        concepts=tuple(fact.get("concept") for fact in facts),
        tags=tuple(frozenset(model.tags) for model in listed),
        descriptions=tuple(model.description or "" for model in listed),
        features=tuple(unit(features[model.id]) for model in listed),
        scale=identity.logit_scale,
    )


def load_queries(folder: Path, name: str = "compact") -> dict[tuple[str, str], Queries]:
    """Every judged query that the encoder can read, by (modality, group).

    Texts come in every phrasing besides, as modalities ``text:TEMPLATE``.
    """
    encoder = load_encoder(name)
    lines = [("in-sample", line) for line in _read(folder / "queries.jsonl")]
    lines += [("unseen", line) for line in _read(folder / "unseen.jsonl")]
    found: dict[tuple[str, str], Queries] = {}
    readable = ("image", "sketch", "text") if "text" in encoder.identity.modalities else ("image", "sketch")
    for modality in readable:
        for group in ("in-sample", "unseen"):
            chosen = [line for own, line in lines if own == group and modality in line]
            if not chosen:
                continue
            asked = [line[modality] for line in chosen]
            right = tuple(tuple(line.get("models") or [line["model"]]) for line in chosen)
            owners = tuple(str(line.get("concept") or line["model"]) for line in chosen)
            how = tuple(Path(ask).stem.split("-")[-1] if modality == "sketch" else "" for ask in asked)
            if modality != "text":
                features = _kept(folder, f"{group}-{modality}", encoder, asked)
                found[modality, group] = Queries(modality, group, features, right, owners, how)
                continue
            for template in TEMPLATES:
                said = encoder.texts_to_features([template.format(ask) for ask in asked])
                own = modality if template == "{}" else f"text:{template}"
                found[own, group] = Queries(own, group, said, right, owners, how)
    return found


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def pictures_to_features(encoder: Encoder, paths: Sequence[Path]) -> Float32:
    """Features ``(n, d)`` of picture files."""
    blocks = [
        images_to_features(encoder, [any_to_image(path, max_pixels=2**24) for path in paths[i : i + 64]])
        for i in tqdm(range(0, len(paths), 64), desc="encoding", disable=None, file=sys.stderr)
    ]
    return np.concatenate(blocks)


def _kept(folder: Path, name: str, encoder: Encoder, paths: Sequence[str]) -> Float32:
    """Features ``(n, d)`` of pictures, encoded unless they are kept from the same files and encoder."""
    digest = hashlib.sha256(encoder.identity.fingerprint.encode())
    for path in paths:
        digest.update((folder / path).read_bytes())
    kept = folder / "features" / f"{name}-{digest.hexdigest()[:16]}.npy"
    if kept.is_file():
        return np.asarray(np.load(kept, allow_pickle=False), np.float32)
    features = pictures_to_features(encoder, [folder / path for path in paths])
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.save(kept, features)
    return features

"""Mixed queries: a text says what, a picture shows how. Only models whose description splits into content and style.

For a model that draws concept c in style s, the picture is a fresh one by another model of style s that draws something
else, and the text names c. A right answer has both; each part alone cannot tell.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.accuracy import methods
from benchmarks.accuracy.judge import accuracy, compare, scores_to_ranks
from benchmarks.accuracy.load import Bool, Float32, Models, Queries
from benchmarks.accuracy.methods import Moments
from benchmarks.accuracy.tables import Table, to_data
from engine.encoders.protocol import Encoder
from engine.evaluation.figures import in_points, percent, with_interval

WORDS = {
    "birds": "a bird", "cats": "a cat", "cat-faces": "the face of a cat", "dogs": "a dog",
    "animal-faces": "the face of an animal", "sea-animals": "fish and sea animals", "insects": "an insect",
    "fruit": "fruit", "vegetables": "vegetables", "desserts": "sweets and cake", "drinks": "a drink", "meals": "a meal",
    "flowers": "a flower", "trees": "a tree", "cars": "cars and trucks", "houses": "a building",
    "weather": "the weather", "moons": "the moon", "clocks": "a clock", "smileys": "a yellow smiley face",
    "hearts": "a heart",
    "hands": "a hand gesture", "workers": "a person at work", "people": "a person", "sports": "sports equipment",
    "balls": "a ball", "instruments": "a musical instrument", "tools": "a tool", "clothes": "clothes",
    "mammals": "a wild animal", "reptiles": "a reptile", "asian-food": "Asian food", "leaves": "leaves",
    "trains": "a train", "ships-planes": "ships and airplanes", "two-wheelers": "a bicycle or motorbike",
    "scenery": "a landscape", "costumes": "a monster", "fantasy": "a fantasy character",
    "athletes": "a person doing sport",
    "household": "a household thing", "office": "office supplies", "books": "a book",
    "screens": "a computer or camera",
    "games": "a game or toy", "festive": "a party", "zodiac": "a zodiac sign", "arrows": "an arrow",
    "science": "laboratory equipment", "money": "money",
}  # fmt: skip
PICTURES = 4
"""Style pictures asked with for each model."""


def mixed_queries(
    models: Models, images: Queries, encoder: Encoder, seed: int
) -> tuple[Float32, Float32, Bool, tuple[str, ...]]:
    """``(picture features (q, d), text features (q, d), targets (q, n), owners)`` for the samplers among the models."""
    rng = np.random.default_rng(seed)
    owner_of = {name: i for i, name in enumerate(models.names)}
    by_style: dict[str, list[int]] = {}
    for row, right in enumerate(images.right):
        place = owner_of[right[0]]
        if models.kinds[place] == "sampler":
            by_style.setdefault(models.styles[place], []).append(row)
    rows: list[int] = []
    wanted: list[int] = []
    for place, kind in enumerate(models.kinds):
        if kind != "sampler":
            continue
        others = [
            row
            for row in by_style.get(models.styles[place], [])
            if models.concepts[owner_of[images.right[row][0]]] != models.concepts[place]
        ]
        if len(others) >= PICTURES:
            rows += rng.choice(others, PICTURES, replace=False).tolist()
            wanted += [place] * PICTURES
    concepts = sorted({str(models.concepts[place]) for place in wanted})
    said = dict(zip(concepts, encoder.texts_to_features([WORDS[concept] for concept in concepts]), strict=True))
    texts = np.stack([said[str(models.concepts[place])] for place in wanted])
    drawn = list(zip(models.styles, models.concepts, strict=True))
    targets = np.array([[other == drawn[place] for other in drawn] for place in wanted])
    return images.features[rows], texts, targets, tuple(models.names[place] for place in wanted)


def mixed(models: Models, moments: Moments, images: Queries, encoder: Encoder) -> Table:
    """Each part alone, the plain sum of log-likelihoods (cosine / τ), and the tempered sum."""
    pictures, texts, targets, owners = mixed_queries(models, images, encoder, seed=0)
    shown, told = methods.first_moment(pictures, moments), methods.first_moment(texts, moments)
    density = methods.gaussian_density(pictures, moments.mean, methods.with_epsilon(moments.covariance))
    spread = lambda scores: scores / scores.std(axis=1, keepdims=True)  # noqa: E731
    rules: Mapping[str, Float32] = {
        "picture alone": shown,
        "text alone": told,
        "plain sum": models.scale * (shown + told),
        "tempered sum": spread(shown) + spread(told),
        "tempered, picture by Gaussian density": spread(density) + spread(told),
    }
    table = Table(
        "accuracy_mixed", "A text says what, a picture shows how",
        f"Per cent among the {len(models)} models of *main*; {len(owners)} queries, {PICTURES} for each of "
        f"{len(set(owners))} samplers.",
        ("score", "top-1", "top-5", "top-10", "top-1 less the plain sum's"),
    )  # fmt: skip
    plain = scores_to_ranks(rules["plain sum"], targets)
    for name, scores in rules.items():
        ranks = scores_to_ranks(scores, targets)
        tops = {k: accuracy(ranks, owners, k) for k in (1, 5, 10)}
        gain = compare(ranks, plain, owners)
        table.add(
            (name, with_interval(tops[1]), percent(tops[5].value), percent(tops[10].value), in_points(gain)),
            score=name, top={str(k): to_data(top) for k, top in tops.items()}, gain=to_data(gain),
        )  # fmt: skip
    return table

"""The same zoo under other encoders: does the order of the methods hold?"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.accuracy import beyond, methods
from benchmarks.accuracy.further import Further
from benchmarks.accuracy.judge import accuracy, scores_to_ranks
from benchmarks.accuracy.tables import Table, to_data
from engine.evaluation.figures import percent, with_interval

MISSING = ("open_clip:ViT-B-32/openai", "timm:vit_small_patch16_224.dino")
"""Encoders whose weights could not be had where this was measured."""
SETS = (("image", "in-sample"), ("image", "unseen"), ("sketch", "in-sample"), ("sketch", "unseen"))
PUBLISHED = ("first moment", "Gaussian density", "Monte-Carlo, all samples", "best-10")


def encoders_table(by_encoder: Mapping[str, Further]) -> Table:
    """Top-1 by the main methods. What is chosen for ``compact`` on *synthetic* is kept for the others."""
    weight = by_encoder["compact"].choices.pooled
    table = Table(
        "accuracy_encoders", "Other encoders",
        f"Top-1 (top-10) in per cent on *main*. Toward pooled: by the weight chosen for `compact`, {weight:g}.",
        ("encoder", "method", *(f"{modality}, {group}" for modality, group in SETS)),
    )  # fmt: skip
    for encoder, all_ in by_encoder.items():
        moments = all_.moments["main"]
        pooled = beyond.toward_pooled(moments, weight)
        cells: dict[str, list[str]] = {}
        data: dict[str, dict[str, object]] = {}
        for modality, group in SETS:
            scored = all_.scored("main", modality, group)
            queries, owners = scored.queries.features, scored.queries.owners
            scores = {name: scored.scores(name) for name in PUBLISHED}
            scores["density toward pooled"] = methods.gaussian_density(queries, moments.mean, pooled)
            scores["linear density"] = beyond.linear_density(queries, moments, weight)
            scores["blend"] = beyond.blended(scores["density toward pooled"], scores["best-10"])
            for name, own in scores.items():
                ranks = scores_to_ranks(own, scored.targets)
                one, ten = accuracy(ranks, owners, 1), accuracy(ranks, owners, 10)
                cells.setdefault(name, []).append(f"{with_interval(one)} ({percent(ten.value)})")
                data.setdefault(name, {})[f"{modality}, {group}"] = {"top1": to_data(one), "top10": to_data(ten)}
        for name, own_cells in cells.items():
            table.add((encoder, name, *own_cells), encoder=encoder, method=name, top=data[name])
    for encoder in MISSING:
        cells_ = ("its weights could not be had here", *("–",) * len(SETS))
        table.add((encoder, *cells_), encoder=encoder, method=None, top=None)
    return table

"""What the zoo must show, one claim a line, with the figures it rests on and whether they bear it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.accuracy.further import Further
from benchmarks.accuracy.judge import Difference, Int64, compare
from benchmarks.accuracy.tables import Table, difference, percent, read_rows

Ranks = Mapping[tuple[str, str], Mapping[str, Int64]]
TITLE = "What was asked for"
NOTE = "Differences of top-1 (or as said) in points with 95 % intervals, paired, resampled over models or concepts."
HEADER = ("claim", "evidence", "borne out")
LEARNED = "sketch: learned first moment"
PUBLISHED = ("first moment", "Gaussian density", "Monte-Carlo, all samples", "best-10")
CHEAP = ("whitened first moment", "linear discriminant", "discriminative first moment")
"""Methods as cheap as one inner product."""
DEFAULT = "density toward pooled"
"""The engine's default method for images."""


def required(all_: Further, ranks: Ranks, samples: Table, two_stage: Table, learned: Mapping[str, Difference]) -> Table:
    """Every claim with its evidence, but for those on learned transforms: ``with_learned`` adds them."""
    table = Table("accuracy_required", TITLE, NOTE, HEADER)

    def add(claim: str, evidence: str, holds: bool) -> None:
        table.add((claim, evidence, verdict(holds)), claim=claim, evidence=evidence, holds=bool(holds))

    image, unseen = ranks["image", "in-sample"], ranks["image", "unseen"]
    owners = {key: all_.scored("main", *key).queries.owners for key in ranks}
    over = compare(image["Gaussian density"], image["first moment"], owners["image", "in-sample"])
    under = compare(image["Gaussian density"], image["Monte-Carlo, all samples"], owners["image", "in-sample"])
    add("image, in-sample: Gaussian density is above first moment", difference(over), over.low > 0)
    add("… and not below Monte-Carlo", difference(under), under.high >= 0)
    best = max(unseen, key=lambda name: float((unseen[name] == 0).mean()))
    below = compare(unseen[DEFAULT], unseen[best], owners["image", "unseen"])
    add(
        f"image, unseen: the default ({DEFAULT}) is the best or not significantly below it ({best})",
        difference(below), best == DEFAULT or below.high >= 0,
    )  # fmt: skip
    low, high = (float((image[name] == 0).mean()) for name in ("first moment", "Gaussian density"))
    closed = {name: (float((image[name] == 0).mean()) - low) / (high - low) for name in CHEAP}
    add(
        "image, in-sample: one inner product closes half the gap from first moment to Gaussian density",
        ", ".join(f"{name} closes {percent(share)} %" for name, share in closed.items()), max(closed.values()) >= 0.5,
    )  # fmt: skip
    for density in ("Gaussian density", DEFAULT):
        rows = [row for row in two_stage.data if row["exhaustive"] == density]
        places = {row["space"]: row["shortlist"]["100"]["places"] for row in rows}
        better = max(places, key=lambda name: places[name])
        add(f"shortlist of 100: the top ten of the exhaustive {density} in 99 % of places",
            f"{better}: {percent(places[better])} %", places[better] >= 0.99)  # fmt: skip
    sketch = ranks["sketch", "in-sample"]
    tops = {name: float((own == 0).mean()) for name, own in sketch.items()}
    published = max(PUBLISHED, key=lambda name: tops[name])
    further = max((name for name in tops if name not in PUBLISHED), key=lambda name: tops[name])
    gain = compare(sketch[further], sketch[published], owners["sketch", "in-sample"])
    add(f"sketch: the best further method ({further}) is above the best of the papers' ({published})",
        difference(gain), gain.low > 0)  # fmt: skip
    text = ranks["text", "in-sample"]
    for k in (1, 10):
        values = {name: float((own < k).mean()) for name, own in text.items()}
        top = max(values, key=lambda name: values[name])
        gain = compare(text[top], text["first moment"], owners["text", "in-sample"], k)
        add(f"text: the best method ({top}) is above first moment, top-{k}", difference(gain), gain.value > 0)
    losses = _losses(samples)
    add("100 samples a model: the best estimator loses at most half of what ε·I loses", ", ".join(
        f"{name} {100 * loss:.1f}" for name, loss in losses.items()) + " points", _halved(losses))  # fmt: skip
    return table


def with_learned(claims: Mapping[str, Difference]) -> Table:
    """The table as it was written, with the claims on learned transforms as they are now."""
    table = Table("accuracy_required", TITLE, NOTE, HEADER)
    for row in read_rows("accuracy_required"):
        if not row["claim"].startswith(LEARNED):
            table.add((row["claim"], row["evidence"], verdict(row["holds"])), **row)
    for name, gain in claims.items():
        data = {"claim": f"{LEARNED}, {name}, is at least 10 points above pre-trained", "evidence": difference(gain)}
        table.add((data["claim"], data["evidence"], verdict(gain.value >= 0.10)), **data, holds=gain.value >= 0.10)
    return table


def verdict(holds: bool) -> str:
    """A cell."""
    return "yes" if holds else "**no**"


def _losses(samples: Table) -> dict[str, float]:
    """Top-1 with all samples (of ε·I: what each is measured against) less top-1 with 100, by estimator."""
    rows: dict[str, dict[str, Any]] = {row["estimator"]: row["top1"] for row in samples.data}
    full = max(rows["density, S + εI"], key=int)
    return {
        name: float(np.subtract(tops[full], tops["100"])) for name, tops in rows.items() if name.startswith("density")
    }


def _halved(losses: Mapping[str, float]) -> bool:
    plain = losses["density, S + εI"]
    return min(loss for name, loss in losses.items() if name != "density, S + εI") <= plain / 2

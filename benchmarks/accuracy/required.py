"""What the zoo must show, one claim a line, with the figures it rests on and whether they bear it out."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.accuracy.few import PLAIN
from benchmarks.accuracy.further import Further
from benchmarks.accuracy.judge import Difference, Int64, compare
from benchmarks.accuracy.tables import Table, read_rows
from engine.evaluation.figures import in_points, percent

Ranks = Mapping[tuple[str, str], Mapping[str, Int64]]
TITLE = "What was asked for"
NOTE = "Differences of top-1 (or as said) in points with 95 % intervals, paired, resampled over models or concepts."
HEADER = ("claim", "evidence", "borne out")
LEARNED = "sketch: learned first moment"
PUBLISHED = ("first moment", "Gaussian density", "Monte-Carlo, all samples", "best-10")
CHEAP = ("whitened first moment", "linear discriminant", "linear density", "discriminative first moment")
"""Methods as cheap as one inner product."""
DEFAULT = "blend"
"""The engine's default method for images."""


def required(all_: Further, ranks: Ranks, few: Table, two_stage: Table) -> Table:
    """Every claim with its evidence, but for those on learned transforms: ``with_learned`` adds them."""
    table = Table("accuracy_required", TITLE, NOTE, HEADER)

    def add(claim: str, evidence: str, holds: bool) -> None:
        table.add((claim, evidence, verdict(holds)), claim=claim, evidence=evidence, holds=bool(holds))

    image, unseen = ranks["image", "in-sample"], ranks["image", "unseen"]
    owners = {key: all_.scored("main", *key).queries.owners for key in ranks}
    over = compare(image["Gaussian density"], image["first moment"], owners["image", "in-sample"])
    under = compare(image["Gaussian density"], image["Monte-Carlo, all samples"], owners["image", "in-sample"])
    add("image, in-sample: Gaussian density is above first moment", in_points(over), over.low > 0)
    add("… and not below Monte-Carlo", in_points(under), under.high >= 0)
    best = max(unseen, key=lambda name: float((unseen[name] == 0).mean()))
    below = compare(unseen[DEFAULT], unseen[best], owners["image", "unseen"])
    add(
        f"image, unseen: the default ({DEFAULT}) is the best or not significantly below it ({best})",
        in_points(below), best == DEFAULT or below.high >= 0,
    )  # fmt: skip
    low, high = (float((image[name] == 0).mean()) for name in ("first moment", "Gaussian density"))
    closed = {name: (float((image[name] == 0).mean()) - low) / (high - low) for name in CHEAP}
    add(
        "image, in-sample: one inner product closes half the gap from first moment to Gaussian density",
        ", ".join(f"{name} closes {percent(share)} %" for name, share in closed.items()), max(closed.values()) >= 0.5,
    )  # fmt: skip
    for density in ("Gaussian density", "density toward pooled"):
        rows = [row for row in two_stage.data if row["exhaustive"] == density]
        places = {row["space"]: row["shortlist"]["100"]["places"] for row in rows}
        better = max(places, key=lambda name: places[name])
        add(f"shortlist of 100: the top ten of the exhaustive {density} in 99 % of places",
            f"{better}: {percent(places[better])} %", places[better] >= 0.99)  # fmt: skip
    sketch = ranks["sketch", "in-sample"]
    tops = {name: float((own == 0).mean()) for name, own in sketch.items()}
    published = max(PUBLISHED, key=lambda name: tops[name])
    for group in ("in-sample", "unseen"):
        own = ranks["sketch", group]
        gain = compare(own["stack"], own[published], owners["sketch", group])
        add(f"sketch, {group}: the stack is above the best of the papers' methods ({published})",
            in_points(gain), gain.low > 0)  # fmt: skip
    text = ranks["text", "in-sample"]
    for k in (1, 10):
        values = {name: float((own < k).mean()) for name, own in text.items()}
        top = max(values, key=lambda name: values[name])
        gain = compare(text[top], text["first moment"], owners["text", "in-sample"], k)
        add(f"text: the best method ({top}) is above first moment, top-{k}", in_points(gain), gain.value > 0)
    losses = {row["estimator"]: row for row in few.data}
    plain = losses.pop(PLAIN)
    for kind, said in (("loss", "each against itself with all"), ("loss_of_plain", f"all against {PLAIN} with all")):
        least = min((row for name, row in losses.items() if not name.startswith("blend")), key=lambda row: row[kind])
        add(f"100 samples a model: the best estimator ({least['estimator']}) loses at most half of what {PLAIN} "
            f"loses, {said}", f"{100 * least[kind]:.1f} of {100 * plain['loss']:.1f} points",
            least[kind] <= plain["loss"] / 2)  # fmt: skip
    return table


def with_learned(claims: Mapping[str, Difference]) -> Table:
    """The table as it was written, with the claims on learned transforms as they are now."""
    table = Table("accuracy_required", TITLE, NOTE, HEADER)
    for row in read_rows("accuracy_required"):
        if not row["claim"].startswith(LEARNED):
            table.add((row["claim"], row["evidence"], verdict(row["holds"])), **row)
    for name, gain in claims.items():
        data = {"claim": f"{LEARNED}, {name}, is at least 10 points above pre-trained", "evidence": in_points(gain)}
        table.add((data["claim"], data["evidence"], verdict(gain.value >= 0.10)), **data, holds=gain.value >= 0.10)
    return table


def verdict(holds: bool) -> str:
    """A cell."""
    return "yes" if holds else "**no**"

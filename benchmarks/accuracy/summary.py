"""The README's main table, from the others' figures: ``python -m benchmarks.accuracy.summary``."""

from __future__ import annotations

from typing import Any

from benchmarks.accuracy.tables import Table, read_rows
from engine.evaluation.figures import percent

SETS = (
    ("image", "in-sample"),
    ("image", "unseen"),
    ("sketch", "in-sample"),
    ("sketch", "unseen"),
    ("text", "in-sample"),
)
METHODS = {
    "first moment": ("first moment",) * 5,
    "whitened first moment (sketches: with their shift)": ("whitened first moment",) * 2
    + ("whitened with the shift",) * 2,
    "linear density": ("linear density",) * 2,
    "discriminative first moment": ("discriminative first moment",) * 2,
    "Gaussian density, as published": ("Gaussian density",) * 5,
    "Gaussian density, drawn toward the pooled": ("density toward pooled",) * 4,
    "… with the sketches' domain shift": ("", "", *("density with the shift",) * 2),
    "Monte-Carlo, all samples": ("Monte-Carlo, all samples",) * 5,
    "best-10": ("best-10",) * 5,
    "blend of density and best-10 (the default)": ("blend",) * 4,
    "stack of best-10 and density (sketches: with their shift)": ("stack",) * 5,
}
"""Rows: what each is called in the full table, set by set."""


def main() -> None:
    """Write ``accuracy_main``."""
    rows = {(row["modality"], row["group"], row["method"]): row for row in read_rows("accuracy_further")}
    largest = {key: max(_top(row) for (*own, _), row in rows.items() if tuple(own) == key) for key in SETS}
    table = Table(
        "accuracy_main", "The main table",
        "Top-1 in per cent on the *main* part of the zoo; the best of each column is bold. *In-sample*: fresh pictures "
        "by the models themselves; *unseen*: the same concepts by an artist in no model, any model of the concept "
        "being right.",
        ("method", *(f"{modality}, {group}" for modality, group in SETS)),
    )  # fmt: skip
    for name, called in METHODS.items():
        cells, data = [], {}
        for key, method in zip(SETS, (*called, "", "", "", "", "")[:5], strict=True):
            row = rows.get((*key, method))
            if row is None:
                cells.append("–")
                continue
            value = percent(_top(row))
            cells.append(f"**{value}**" if _top(row) == largest[key] else value)
            data[", ".join(key)] = _top(row)
        table.add((name, *cells), method=name, top1=data)
    table.write()


def _top(row: dict[str, Any]) -> float:
    return float(row["top"]["1"]["value"])


if __name__ == "__main__":
    main()

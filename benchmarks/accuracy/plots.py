"""Figures for ``docs/accuracy.md``, drawn from the tables' JSON: ``python -m benchmarks.accuracy.plots``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.accuracy.tables import read_rows

mpl.use("Agg")
from matplotlib import pyplot  # the backend is chosen first

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
DASHES = ("-", "--", "-.", ":", (0, (1, 1)), (0, (5, 1)), (0, (3, 1, 1, 1)))


def save(figure: Any, name: str) -> None:
    """As SVG, the same bytes every time."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(PICTURES / f"{name}.svg", metadata={"Date": None})
    pyplot.close(figure)


def samples() -> None:
    """Accuracy against samples."""
    figure, axes = pyplot.subplots(figsize=(6.4, 3.8))
    for row, dash in zip(read_rows("accuracy_samples"), DASHES, strict=False):
        counts = [int(count) for count in row["top1"]]
        axes.plot(counts, [100 * value for value in row["top1"].values()], linestyle=dash, marker=".",
                  label=row["estimator"])  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("samples a model")
    axes.set_ylabel("in-sample image top-1, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    save(figure, "accuracy_samples")


def drop_off() -> None:
    """The ten best scores."""
    rows = read_rows("accuracy_dropoff")
    sets = list(dict.fromkeys((row["modality"], row["group"]) for row in rows))
    figure, panels = pyplot.subplots(1, len(sets), figsize=(2.6 * len(sets), 2.8), sharey=True)
    for axes, (modality, group) in zip(panels, sets, strict=True):
        own = [row for row in rows if (row["modality"], row["group"]) == (modality, group)]
        for row, dash in zip(own, DASHES, strict=False):
            axes.plot(range(1, 11), row["curve"], linestyle=dash, label=row["method"])
        axes.set_title(f"{modality}, {group}", fontsize=9)
        axes.set_xlabel("rank")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("score − best, in spreads")
    panels[0].legend(fontsize=7)
    save(figure, "accuracy_dropoff")


def methods() -> None:
    """Top-1 of every method, with intervals."""
    rows = read_rows("accuracy_further")
    sets = list(dict.fromkeys((row["modality"], row["group"]) for row in rows))
    figure, panels = pyplot.subplots(1, len(sets), figsize=(3.3 * len(sets), 3.2))
    for axes, (modality, group) in zip(panels, sets, strict=True):
        own = [row for row in rows if (row["modality"], row["group"]) == (modality, group)][::-1]
        tops = [row["top"]["1"] for row in own]
        values = [100 * top["value"] for top in tops]
        around = [
            [100 * (top["value"] - top["low"]) for top in tops],
            [100 * (top["high"] - top["value"]) for top in tops],
        ]
        axes.errorbar(values, range(len(own)), xerr=around, fmt="o", markersize=4, capsize=2)
        axes.set_yticks(range(len(own)), [row["method"] for row in own], fontsize=7)
        axes.set_title(f"{modality}, {group}: top-1, %", fontsize=9)
        axes.grid(alpha=0.3)
    save(figure, "accuracy_methods")


def main() -> None:
    """All of them."""
    mpl.rcParams["svg.hashsalt"] = "engine"
    samples()
    drop_off()
    methods()


if __name__ == "__main__":
    main()

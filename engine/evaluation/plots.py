"""A report as pictures, by matplotlib, which is optional."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import MissingDependency, StorageError
from engine.evaluation.confusion import confusions_to_matrix
from engine.evaluation.records import Confusions, EvaluationResult, SamplesPoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 4.0  # inches a panel
SHORT = 24  # characters of a name on an axis


def report_to_plots(report: EvaluationResult, folder: Path) -> list[Path]:
    """Write ``drop-off.png``, ``confusion-MODALITY.png`` (of its best method) and ``samples.png``; the paths written.

    What was not measured is not drawn.

    Raises:
        MissingDependency, StorageError
    """
    try:
        import_module("matplotlib")
    except ImportError as error:
        raise MissingDependency("plots need matplotlib", hint="pip install 'engine[plots]'") from error
    figures = {}
    if any(len(_known(d.curve)) for d in report.drop_offs):
        figures["drop-off"] = drop_off_figure(report)
    for confusions in _best(report):
        if confusions.pairs:
            figures[f"confusion-{confusions.modality.replace('+', '-')}"] = confusion_figure(confusions)
    if report.samples_curve:
        figures["samples"] = samples_figure(report.samples_curve)
    written = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font lacks
                figure.savefig(path, dpi=150)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error}", hint="name another folder") from error
        written.append(path)
    return written


def drop_off_figure(report: EvaluationResult) -> Figure:
    """A panel for each modality, a line for each method: score against rank."""
    from matplotlib.ticker import MaxNLocator

    modalities = list(dict.fromkeys(d.modality for d in report.drop_offs))
    figure = _figure(len(modalities))
    for axes, modality in zip(figure.subplots(1, len(modalities), squeeze=False)[0], modalities, strict=True):
        for found in report.drop_offs:
            curve = _known(found.curve)
            if found.modality == modality and len(curve):
                colour = f"C{report.methods.index(found.method)}"  # a method has one colour in every panel
                axes.plot(range(1, len(curve) + 1), curve, color=colour, marker=".", label=found.method)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(title=_text(modality), xlabel="rank", ylabel="score less the best, in σ of the ranking")
        axes.legend(fontsize="small")
    return figure


def confusion_figure(confusions: Confusions) -> Figure:
    """A heat map of the models with most errors: row asked for, column found first instead."""
    from matplotlib.ticker import MaxNLocator

    names, counts = confusions_to_matrix(confusions)
    side = max(SIDE, 1.5 + 0.2 * len(names))
    figure = _figure(1, side)
    axes = figure.subplots()
    image = axes.imshow(counts, cmap="viridis")
    labels = [_text(name) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), labels, fontsize=7)
    axes.set(xlabel="found first", ylabel="asked for", title=_text(f"{confusions.modality} by {confusions.method}", 60))
    figure.colorbar(image, ax=axes, shrink=0.7, label="queries", ticks=MaxNLocator(integer=True))
    return figure


def samples_figure(points: Iterable[SamplesPoint]) -> Figure:
    """A panel for each modality, a line with its interval for each method: top-1 against samples."""
    lines: dict[str, dict[str, list[SamplesPoint]]] = {}
    for point in points:
        lines.setdefault(point.modality, {}).setdefault(point.method, []).append(point)
    figure = _figure(len(lines))
    for axes, (modality, methods) in zip(figure.subplots(1, len(lines), squeeze=False)[0], lines.items(), strict=True):
        for method, line in methods.items():
            values = 100 * np.array([(p.top_1.value, p.top_1.low, p.top_1.high) for p in line])
            axes.plot(range(len(line)), values[:, 0], marker=".", label=method)
            axes.fill_between(range(len(line)), values[:, 1], values[:, 2], alpha=0.2)
            sizes = ["all" if point.samples is None else str(point.samples) for point in line]
            axes.set_xticks(range(len(line)), sizes)
        axes.set(title=_text(modality), xlabel="samples a model", ylabel="top-1 accuracy, %")
        axes.legend(fontsize="small")
    return figure


def _figure(panels: int, side: float = SIDE) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(side * panels + 1, side), layout="constrained")


def _best(report: EvaluationResult) -> list[Confusions]:
    """Of each modality the confusions of the method with the fewest errors."""
    best: dict[str, Confusions] = {}
    for confusions in report.confusions:
        if confusions.modality not in best or confusions.errors < best[confusions.modality].errors:
            best[confusions.modality] = confusions
    return list(best.values())


def _known(curve: Iterable[float]) -> list[float]:
    return [value for value in curve if not np.isnan(value)]


def _text(name: str, most: int = SHORT) -> str:
    """A name as a label: cut, and with no dollar sign, between which matplotlib would read mathematics."""
    short = name if len(name) <= most else f"{name[: most - 1]}…"
    return short.replace("$", r"\$")

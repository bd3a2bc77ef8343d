"""A report as Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from engine.evaluation.bootstrap import Estimate
from engine.evaluation.figures import in_points, milliseconds, p_value, percent, with_interval
from engine.evaluation.judging import MEASURES
from engine.evaluation.records import EvaluationResult, Row

WORST = 10
"""Confused pairs shown of each modality and method."""
FIRST = ("query", "method", "queries", "models")
SHOWN = ("top-1", "top-5", "top-10", "mAP@5", "mAP@10", "mAP")

Cells = Sequence[str]


def report_to_markdown(report: EvaluationResult) -> str:
    """The whole report."""
    parts = ["# Evaluation", _head(report)]
    parts += _whole(report)
    for title, by in (("By kind", "kind"), ("By tag", "tag")):
        rows = [row for row in report.rows if row.cut.by == by]
        if rows:
            parts += [f"## {title}", _table((*FIRST, *SHOWN), 2, [[*_first(row), *_cells(row)] for row in rows])]
    parts += _strata(report)
    if report.comparisons:
        cells = [
            [c.cut.label, c.measure, c.method, c.other, in_points(c.difference), p_value(c.difference.p)]
            for c in report.comparisons
        ]
        parts += [
            "## Methods against each other",
            "The first method less the second on the same queries, in points, with its 95 % interval and two-sided p "
            "(not corrected for the number of comparisons).",
            _table(("query", "measure", "method", "against", "difference", "p"), 4, cells),
        ]
    times = [
        [t.modality, t.stage, t.method or "", milliseconds(t.median), milliseconds(t.p95)] for t in report.latencies
    ]
    parts += [
        "## Time",
        "Milliseconds a query: to encode it, in batches; to rank its ten best models once it is encoded.",
        _table(("query", "stage", "method", "median", "95th percentile"), 3, times),
    ]
    parts += _scores(report)
    pairs = [[c.modality, c.method, *pair[:2], str(pair[2])] for c in report.confusions for pair in c.pairs[:WORST]]
    if pairs:
        parts += ["## Confused models", _table(("query", "method", "asked for", "found", "times"), 4, pairs)]
    return "\n\n".join(parts) + "\n"


def _head(report: EvaluationResult) -> str:
    lines = [
        f"{report.queries} judged queries among {report.models} models under `{report.encoder}`; the exact methods "
        f"look at {report.shortlist} candidates. Figures are per cent; brackets are 95 % intervals of a bootstrap over "
        f"models or concepts ({report.resamples} resamples, seed {report.seed}). Chance is {percent(report.chance)}.",
    ]
    if report.untagged:
        lines.append(f"mAP leaves out {report.untagged} queries: no right model has a tag.")
    return " ".join(lines)


def _whole(report: EvaluationResult) -> list[str]:
    rows = [row for row in report.rows if row.cut.by in ("modality", "group")]
    cells = []
    for row in rows:
        signal = with_interval(row.with_signal["top_1"]) if row.with_signal else "–"
        cells.append([*_first(row), *_cells(row), f"{signal} (n = {row.signal_queries})"])
    return ["## Accuracy", _table((*FIRST, *SHOWN, "top-1 where there is signal"), 2, cells)]


def _strata(report: EvaluationResult) -> list[str]:
    cells = [
        [s.cut.label, s.verdict, s.best, with_interval(s.top_1), str(s.queries), str(s.models)] for s in report.strata
    ]
    return [
        "## Strata",
        "*No signal*: the best method does not beat chance. *Too easy*: every method reaches 99.5 %. Both are left "
        "out of the last column of the first table.",
        _table(("stratum", "verdict", "best method", "its top-1", "queries", "models"), 3, cells),
    ]


def _scores(report: EvaluationResult) -> list[str]:
    parts = []
    measured = [d for d in report.drop_offs if not math.isnan(d.curve[0])]
    if measured:
        curves = [[d.modality, d.method, *(f"{value:.2f}" for value in d.curve)] for d in measured]
        header = ("query", "method", *map(str, range(1, len(report.drop_offs[0].curve) + 1)))
        parts += [
            "## Score drop-off",
            "The ten best scores less the best, in standard deviations of the whole ranking: the mean over queries.",
            _table(header, 2, [[cell.replace("nan", "–") for cell in curve] for curve in curves]),
        ]
    if report.samples_curve:
        sizes = list(dict.fromkeys(point.samples for point in report.samples_curve))
        lines: dict[tuple[str, str], list[str]] = {}
        for point in report.samples_curve:
            lines.setdefault((point.modality, point.method), []).append(with_interval(point.top_1))
        parts += [
            "## Accuracy against samples",
            "Top-1 with statistics of the first stored samples of each model, all models scored.",
            _table(
                ("query", "method", *("all stored" if size is None else str(size) for size in sizes)), 2,
                [[*key, *values] for key, values in lines.items()],
            ),
        ]  # fmt: skip
    return parts


def _first(row: Row) -> list[str]:
    name = row.method if row.method == row.rule else f"{row.method} ({row.rule})"
    by = f", {row.transform}" if row.transform else ""
    return [row.cut.label, name + by, str(row.queries), str(row.models)]


def _cells(row: Row) -> list[str]:
    estimates: list[Estimate] = [row.measures[measure] for measure in MEASURES]
    return [with_interval(estimates[0]), *(percent(estimate.value) for estimate in estimates[1:])]


def _table(header: Cells, texts: int, rows: Iterable[Cells]) -> str:
    """A table whose first ``texts`` columns are text and the others figures, aligned right."""
    rule = ["---"] * texts + ["--:"] * (len(header) - texts)
    return "\n".join(f"| {' | '.join(_safe(cell) for cell in cells)} |" for cells in (header, rule, *rows))


def _safe(text: str) -> str:
    """Names and tags are other people's text: they must not break the table."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")

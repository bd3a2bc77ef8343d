"""An evaluation's report on the terminal: what fits 80 columns. The rest is in its JSON and Markdown forms."""

from __future__ import annotations

import click

from engine.cli.table import Column, show_facts, show_table
from engine.evaluation import Report
from engine.evaluation.figures import in_points, milliseconds, p_value, percent, with_interval
from engine.evaluation.records import Row
from engine.evaluation.strata import LEFT_OUT

QUERY = Column("query", least=8)
METHOD = Column("method", least=12, keep=True)


def show_report(report: Report) -> None:
    """Accuracy, precision and time, methods against each other, and what is to be known of them."""
    rows = [row for row in report.rows if row.cut.by in ("modality", "group")]
    _show_rows(
        rows,
        ("queries", "top-1 %", "top-5", "top-10"),
        [[str(row.queries), with_interval(row.measures["top_1"]), *_percents(row, "top_5", "top_10")] for row in rows],
    )
    took = {(time.modality, time.method): time for time in report.latencies}
    times = [took[row.cut.modality, row.method] for row in rows]
    _show_rows(
        rows,
        ("mAP@5 %", "mAP@10", "mAP", "rank ms", "p95"),
        [
            [*_percents(row, "map_5", "map_10", "map"), milliseconds(time.median), milliseconds(time.p95)]
            for row, time in zip(rows, times, strict=True)
        ],
    )
    compared = [found for found in report.comparisons if found.measure == "top_1"]
    if compared:
        against = Column("against", least=12, keep=True)
        show_table(
            [QUERY, METHOD, against, Column("top-1, points", right=True), Column("p", right=True)],
            [
                [c.cut.label, c.method, c.other, in_points(c.difference), p_value(c.difference.p)]
                for c in compared
            ],
        )  # fmt: skip
        click.echo()
    show_facts([*_facts(report), *_dull(report)])


def _show_rows(rows: list[Row], titles: tuple[str, ...], cells: list[list[str]]) -> None:
    columns = [QUERY, METHOD, *(Column(title, right=True) for title in titles)]
    show_table(columns, [[row.cut.label, _name(row), *rest] for row, rest in zip(rows, cells, strict=True)])
    click.echo()


def _name(row: Row) -> str:
    return row.method if row.method == row.rule else f"{row.method}: {row.rule}"


def _percents(row: Row, *measures: str) -> list[str]:
    return [percent(row.measures[measure].value) for measure in measures]


def _facts(report: Report) -> list[tuple[str, str]]:
    encoding = [
        f"{time.modality} {milliseconds(time.median)} ms (p95 {milliseconds(time.p95)})"
        for time in report.latencies
        if time.stage == "encode"
    ]
    return [
        ("queries", f"{report.queries} among {report.models} models; by chance {100 * report.chance:.2g} % top-1"),
        ("encoder", f"{report.encoder}: {', '.join(encoding)}"),
        ("brackets", f"95 % intervals over models or concepts, {report.resamples} resamples"),
        ("no tag", f"{report.untagged} queries, left out of mAP" if report.untagged else ""),
    ]


def _dull(report: Report) -> list[tuple[str, str]]:
    """Strata without signal, and what top-1 is without them."""
    dull = [stratum for stratum in report.strata if stratum.verdict in LEFT_OUT]
    facts = [
        (stratum.verdict, f"{stratum.cut.label}: best {with_interval(stratum.top_1)}, {stratum.queries} queries")
        for stratum in dull
    ]
    for row in report.rows:
        if row.cut.by == "modality" and row.signal_queries != row.queries:
            found = with_interval(row.with_signal["top_1"]) if row.with_signal else "nothing is left"
            facts.append(("without", f"{row.cut.label} by {_name(row)}: top-1 {found}, {row.signal_queries} queries"))
    return facts

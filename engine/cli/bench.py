"""``engine bench``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from engine.cli.options import database_option, json_option
from engine.cli.output import say, show_json
from engine.cli.table import Column, show_table
from engine.errors import StorageError

SIZES = (259, 10_000, 100_000)
DATA = ("clustered", "simulated")


@click.command()
@click.option(
    "--sizes", metavar="N,N,…", default=",".join(map(str, SIZES)), show_default=True,
    help="How many models the collections have. A million take 2 GB on disk and 6 GB of memory.",
)  # fmt: skip
@click.option(
    "--data", type=click.Choice([*DATA, "both"]), default="both", show_default=True, metavar="NAME",
    help="clustered: topics on a narrow cone, as real features are; simulated: directions without structure; both.",
)  # fmt: skip
@click.option(
    "--queries", metavar="N", type=click.IntRange(min=10), default=200, show_default=True, help="Timed, of each index."
)
@click.option("--dimension", metavar="N", type=click.IntRange(min=32), default=512, show_default=True, help="Of means.")
@click.option("--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Of the data.")
@click.option(
    "--out", metavar="FOLDER", type=click.Path(path_type=Path, file_okay=False), default=Path("bench"),
    show_default=True, help="Write bench.json and bench.md there, and what is done so far into its cells/.",
)  # fmt: skip
@click.option("--peers", is_flag=True, help="Measure FAISS and what is installed of hnswlib, usearch and ScaNN, too.")
@click.option("--again", is_flag=True, help="Measure anew what is already in FOLDER.")
@database_option
@json_option
def bench(
    url: str,
    as_json: bool,
    sizes: str,
    data: str,
    queries: int,
    dimension: int,
    seed: int,
    out: Path,
    peers: bool,
    again: bool,
) -> None:
    """Measure this machine: the engine's indexes, in turns with FAISS's flat one, against the memory's bandwidth.

    Collections are drawn from fixed seeds, not read from the database. Each index is measured in a process of its own
    and written when it is done: the same command, given again, goes on where it stopped.

    \b
    Example:
      engine bench
      engine bench --sizes 10000 --data clustered --peers --out figures/
    """
    from engine.bench import run

    counts = _sizes(sizes)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="scratch-", dir=out) as scratch:
            results = run.measure(
                counts, DATA if data == "both" else (data,), queries=queries, dimension=dimension, seed=seed, out=out,
                scratch=Path(scratch), peers=peers, again=again, say=say,
            )  # fmt: skip
        written = run.write(results, out)
    except OSError as error:
        raise StorageError(f"cannot measure in {out}: {error}", hint="give another folder with --out") from error
    if as_json:
        show_json(
            {"files": [str(path) for path in written], "rows": run.rows(results), "missing": run.missing(results)}
        )
        return
    _show(run.rows(results))
    for what, why in run.missing(results).items():
        say(f"not measured: {what}: {why}")
    for path in written:
        click.echo(str(path))


def _sizes(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.replace("_", "").split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not numbers with commas between them", param_hint="--sizes") from error
    if min(counts) < 20:
        raise click.BadParameter(f"{min(counts)} is too few: 20 at least", param_hint="--sizes")
    return counts


def _show(rows: list[dict[str, object]]) -> None:
    columns = [
        Column("data"),
        Column("models", right=True),
        Column("method", least=12),
        Column("setting", least=8),
        *(Column(name, right=True) for name in ("p50 ms", "p99 ms", "recall", "÷ floor", "÷ flat")),
    ]
    show_table(columns, [[str(row[key]) for key in
                          ("data", "models", "method", "setting", "p50", "p99", "recall@10", "time ÷ floor", "÷ flat")]
                         for row in rows])  # fmt: skip

"""The benchmark suite: the engine, its peers and a collection's life, at sizes up to a million models.

    make bench                                          # everything; many hours, and 30 GB of disk
    python -m benchmarks.suite.run --sizes 259,10000    # a part of it
    python -m benchmarks.suite.run --only hnswlib       # one method; --again measures it anew

Collections are drawn from fixed seeds (``engine.bench.data``). Every cell, a method on a collection, runs in a process
of its own in turns with FAISS's flat index, and is written when it is done: what was cut off goes on. Tables, JSON and
plots are written from all cells that there are, those of earlier runs and such a processor's in ``--out`` included.
One GPU row appears for each library that sees a GPU. Progress goes to stderr, the paths of what was written to stdout.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.suite import plots, tables
from benchmarks.suite.density import Density
from benchmarks.suite.peers import PEERS
from benchmarks.suite.tasks import Collection, FeatureMoments, Loading
from benchmarks.suite.zoo import Zoo
from engine.bench.cells import FORMAT, TIMEOUT, Cell, Result, cells, finished, measure_all
from engine.bench.data import DATA, DIMENSION, QUERIES, SEED
from engine.bench.kinds import KINDS
from engine.bench.machine import machine

ROOT = Path(__file__).resolve().parents[1]
SIZES = (259, 10_000, 100_000, 1_000_000)
OVERHEAD, LOADED, FEATURES, ZOO = 1000, 20_000, 50_000, 259
TASKS = ("collection", "density", "loading", "moments", "zoo")


def planned(sizes: Sequence[int], data: Sequence[str], *, dimension: int, queries: int, seed: int) -> list[Cell]:
    """Every cell, small ones first. Loading, moments and the zoo have one size each, the papers'."""
    shape = {"dimension": dimension, "queries": queries, "seed": seed}
    small = [n for n in (OVERHEAD,) if n <= max(sizes)]
    found = cells({**KINDS, **PEERS}, sizes, data, **shape)
    found += cells({"collection": Collection}, sorted({*small, *sizes}), data, **shape)
    found += cells({"density": Density}, sizes, data, **shape)
    found += cells({"loading": Loading}, [min(LOADED, max(sizes))], data[-1:], **shape)
    found += cells({"moments": FeatureMoments}, [min(FEATURES, max(sizes))], data[-1:], **shape)
    found += cells({"zoo": Zoo}, [min(ZOO, min(sizes))], data, **shape)
    return sorted(found, key=lambda cell: cell.models)


@click.command(help=__doc__)
@click.option("--sizes", default=",".join(map(str, SIZES)), show_default=True, help="Numbers with commas between.")
@click.option("--data", default=",".join(DATA), show_default=True, help="Names of data sets.")
@click.option("--only", multiple=True, metavar="METHOD", help="Measure this alone; repeatable.")
@click.option("--skip", multiple=True, metavar="METHOD", help="Leave this out; repeatable.")
@click.option("--queries", default=QUERIES, show_default=True, help="200 at least for figures to publish.")
@click.option("--dimension", default=DIMENSION, show_default=True)
@click.option("--seed", default=SEED, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "results", help="Where tables and plots go.")
@click.option(
    "--scratch", type=click.Path(path_type=Path), default=ROOT / ".cache" / "suite",
    help="Where collections and finished cells are kept; `make clean` leaves it alone.",
)  # fmt: skip
@click.option("--again", is_flag=True, help="Measure cells anew that are there.")
@click.option("--timeout", default=TIMEOUT, show_default=True, help="Seconds a cell.")
@click.option("--report", "only_report", is_flag=True, help="Measure nothing: write what there is.")
def main(
    sizes: str, data: str, only: tuple[str, ...], skip: tuple[str, ...], queries: int, dimension: int, seed: int,
    out: Path, scratch: Path, again: bool, timeout: float, only_report: bool,
) -> None:  # fmt: skip
    """Measure and write."""
    counts, names = [int(part) for part in sizes.split(",")], data.split(",")
    plan = planned(counts, names, dimension=dimension, queries=queries, seed=seed)
    titles = {cell.title for cell in plan}
    if unknown := (set(only) | set(skip)) - titles:
        raise click.BadParameter(f"{', '.join(unknown)}: methods are {', '.join(sorted(titles))}")
    done = scratch / "cells"
    wanted = [cell for cell in plan if (not only or cell.title in only) and cell.title not in skip]
    measured: list[Result] = []
    if not only_report:
        measured = measure_all(
            wanted, done, scratch, again=again, timeout=timeout, say=lambda text: click.echo(text, err=True)
        )
    out.mkdir(parents=True, exist_ok=True)
    whole = out / "suite.json"
    everything = planned(
        sorted({*SIZES, *counts}), list(dict.fromkeys([*DATA, *names])),
        dimension=dimension, queries=queries, seed=seed,
    )  # fmt: skip
    everything += [cell for cell in plan if cell not in everything]
    results = merged(everything, measured, done, published(whole, machine()["cpu"]))
    written = [*tables.write(results, TASKS, out), *plots.draw(results, out)]
    whole.write_text(json.dumps({"results": results}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for path in [*written, whole]:
        click.echo(str(path))


def published(path: Path, cpu: str) -> list[Result]:
    """What an earlier run on such a processor wrote: another's milliseconds and floors do not belong in one table."""
    if not path.exists():
        return []
    found: list[Result] = json.loads(path.read_text(encoding="utf-8"))["results"]
    return [
        result for result in found if result.get("format") == FORMAT and result.get("machine", {}).get("cpu") == cpu
    ]


def merged(
    plan: Sequence[Cell], measured: Sequence[Result], done: Path, earlier: Sequence[Result] = ()
) -> list[Result]:
    """Results in the plan's order: this run's, else finished cells', else those that were published before."""
    now, before = ({Cell(**result["cell"]): result for result in results} for results in (measured, earlier))
    found = (now.get(cell) or finished(cell, done) or before.get(cell) for cell in plan)
    return [result for result in found if result is not None]


if __name__ == "__main__":
    main()

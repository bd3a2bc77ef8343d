"""Exact re-ranking of 100 candidates for k = 10 at d = 512: what it costs, against reading the factors, and others.

    python -m benchmarks.rerank

The collection is ``benchmarks.clustered``: topics on a narrow cone, power-law spectra, covariances from 600 samples,
queries at cosine 0.8 from their model. Covariances are shrunk as searches do. A query's candidates are the 100 models
nearest by first moment. Factors are in a factor store's mapped file, read and verified once before the clock starts.

Timed, in turns, so that what else the machine does falls on all alike; each turn has queries of its own:

- ``rerank``: the query's rotation, and the k best of 100 from where their factors lie, as in searches, on one thread;
- ``read``: the 100 candidates' packed factors added up, in four streams at once; ``read ahead``: in one, with memory
  asked for as far ahead as where records have low rank. The faster of the two is what re-ranking is compared with;
- ``store + rerank``: the same with the store asked for the factors by id and change;
- ``all``: as ``rerank`` for k = 100, where nothing can be dropped;
- ``scipy``: ``solve_triangular`` in float64 with factors taken before; ``torch, kept``: ``log_prob`` of a float64
  ``MultivariateNormal`` made before; ``torch, made``: of one made from mean and covariance for the query, as the
  papers' code does. Each a candidate, on fewer of them.

Scores and ranks are compared with SciPy's. Writes ``benchmarks/results/rerank.{json,md}``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import numpy as np
import torch
from numba import carray, njit
from scipy.linalg import cholesky, solve_triangular

from benchmarks.clustered import draw
from benchmarks.encoder_speed import machine
from engine.compiled import FREE, LINE, pointer, prefetch
from engine.rerank import density_records as rule
from engine.rerank.byte_cache import ByteCache
from engine.rerank.density_kernel import AHEAD
from engine.rerank.density_layout import record_bytes
from engine.rerank.density_records import PackedFactor, feature_to_rotated, packed_densities, statistics_to_packed
from engine.rerank.record_file import RecordKey
from engine.rerank.record_store import RecordStore
from engine.scores import Shrinkage
from engine.scores.gaussian_density import LOG_2PI, shrunk_covariance

RESULTS = Path(__file__).resolve().parent / "results"
DIMENSION, MODELS, CANDIDATES, K, WEIGHT = 512, 600, 100, 10, 0.6
FEW = 10
"""Candidates of the slow ones."""
NOTES = Path(__file__).resolve().parent / "rerank_notes.md"


def _read(addresses: Any, size: int) -> Any:
    total, quarter = np.float32(0), size // 4
    for address in addresses:
        one = carray(pointer(address), (quarter,), np.float32)
        two = carray(pointer(address + np.uint64(4 * quarter)), (quarter,), np.float32)
        three = carray(pointer(address + np.uint64(8 * quarter)), (quarter,), np.float32)
        four = carray(pointer(address + np.uint64(12 * quarter)), (quarter,), np.float32)
        for i in range(quarter):
            total += (one[i] + two[i]) + (three[i] + four[i])
    return total


def _read_ahead(addresses: Any, size: int) -> Any:
    total = np.float32(0)
    for address in addresses:
        for block in range(0, size // 1024):
            start = address + np.uint64(4096 * block)
            for line in range(0, 4096, LINE):
                prefetch(start + np.uint64(AHEAD + line))
            row = carray(pointer(start), (1024,), np.float32)
            for i in range(1024):
                total += row[i]
    return total


read_ahead = njit(fastmath=FREE, nogil=True)(_read_ahead)
read = njit(fastmath=FREE, nogil=True)(_read)


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds."""
    started = perf_counter()
    work()
    return 1e3 * (perf_counter() - started)


def spread(values: list[float]) -> dict[str, float]:
    """The least, the quartiles and the median, of a time in ms."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"min": min(values), "p25": float(low), "median": float(middle), "p75": float(high)}


@click.command(help=__doc__)
@click.option("--turns", default=200, show_default=True)
@click.option("--models", default=MODELS, show_default=True)
def main(turns: int, models: int) -> None:
    """Measure, print, write."""
    torch.set_num_threads(1)
    drawn = draw(models, DIMENSION, topics=models // 25, samples=600, queries=1, seed=0)
    pooled = np.mean([item.covariance.astype(np.float64) for item in drawn.statistics], axis=0)  # type: ignore[union-attr]
    shrinkage = Shrinkage(pooled, WEIGHT, "benchmark")
    rotation = rule.statistics_to_rotation(drawn.statistics)
    means = np.stack([item.mean / np.linalg.norm(item.mean) for item in drawn.statistics])
    asked = [queries[0] for queries in drawn.queries]
    nearest = [np.argsort(-(means @ query))[:CANDIDATES].tolist() for query in asked]
    with tempfile.TemporaryDirectory() as folder:
        size = record_bytes(DIMENSION)
        key = RecordKey("benchmark", "synthetic", DIMENSION, "", shrinkage.version, "")
        store = RecordStore(Path(folder), key, budget=models * size, memory=ByteCache(0))
        store.start(rotation)
        versions = dict.fromkeys(range(models), 1)
        packed = {i: statistics_to_packed(item, rotation, shrinkage).record for i, item in enumerate(drawn.statistics)}
        store.append(packed, versions)
        del packed
        everything = np.arange(models)
        found = store.find(everything, np.ones(models, np.int64), lambda ids: {})
        assert store.counts.mapped == models
        factors = {i: PackedFactor.at(int(found.addresses[i]), DIMENSION) for i in range(models)}
        report = measure(drawn.statistics, shrinkage, rotation, store, factors, asked, nearest, turns)
    report |= {"machine": machine(), "models": models, "turns": turns}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "rerank.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "rerank.md").write_text(to_markdown(report), encoding="utf-8")
    print(to_markdown(report))


def measure(
    statistics: Any, shrinkage: Shrinkage, rotation: Any, store: Any, factors: Any, asked: Any, nearest: Any, turns: int
) -> dict[str, Any]:
    """Times of everything, in turns, and how far scores and ranks are from SciPy's."""
    lowers: dict[int, Any] = {}
    normals: dict[int, Any] = {}

    def prepared(i: int) -> None:
        if i not in lowers:
            lowers[i] = cholesky(shrunk_covariance(statistics[i], shrinkage), lower=True)
            normals[i] = torch.distributions.MultivariateNormal(
                torch.from_numpy(statistics[i].mean.astype(np.float64)),
                scale_tril=torch.from_numpy(lowers[i]),
                validate_args=False,
            )

    def by_scipy(i: int, query: Any) -> float:
        z = solve_triangular(lowers[i], query - statistics[i].mean.astype(np.float64), lower=True, check_finite=False)
        return -0.5 * (float(z @ z) + 2 * float(np.log(np.diag(lowers[i])).sum()) + DIMENSION * LOG_2PI)

    def chosen(number: int) -> tuple[Any, list[int], list[PackedFactor]]:
        number %= len(asked)
        return asked[number], nearest[number], [factors[i] for i in nearest[number]]

    times: dict[str, list[float]] = {}
    shares, errors, wrong = [], [], 0
    step, ones = 7, np.ones(CANDIDATES, np.int64)
    for turn in range(-3, turns):
        row: dict[str, float] = {}
        query, ids, mine = chosen(step * turn)
        at = np.array([factor.address for factor in mine], np.uint64)
        row["rerank"] = timed(lambda q=query, at=at: rule.distances_at(at, feature_to_rotated(rotation, q), K))
        _, _, mine_ = chosen(step * turn + 1)
        at = np.array([factor.address for factor in mine_], np.uint64)
        row["read"] = timed(lambda at=at: read(at, record_bytes(DIMENSION) // 4))
        _, _, others = chosen(step * turn + 4)
        at = np.array([factor.address for factor in others], np.uint64)
        row["read ahead"] = timed(lambda at=at: read_ahead(at, record_bytes(DIMENSION) // 4))
        q, i, _ = chosen(step * turn + 2)
        at = np.array(i)
        row["store + rerank"] = timed(
            lambda q=q, i=at: rule.distances_at(
                store.find(i, ones, lambda ids: {}).addresses, feature_to_rotated(rotation, q), K
            )
        )
        q, _, m = chosen(step * turn + 3)
        row["all"] = timed(lambda q=q, m=m: packed_densities(m, feature_to_rotated(rotation, q), CANDIDATES))
        if turn % 10 == 0:
            few = ids[:FEW]
            wide = query.astype(np.float64)
            tensor = torch.from_numpy(wide)
            for i in few:
                prepared(i)
            row["scipy"] = timed(lambda few=few, w=wide: [by_scipy(i, w) for i in few]) / FEW
            row["torch, kept"] = timed(lambda few=few, t=tensor: [normals[i].log_prob(t) for i in few]) / FEW
            pairs = [
                (
                    torch.from_numpy(statistics[i].mean.astype(np.float64)),
                    torch.from_numpy(shrunk_covariance(statistics[i], shrinkage)),
                )
                for i in few
            ]
            row["torch, made"] = (
                timed(
                    lambda p=pairs, t=tensor: [
                        torch.distributions.MultivariateNormal(mean, sigma).log_prob(t) for mean, sigma in p
                    ]
                )
                / FEW
            )
        if turn < 0:
            continue
        for name, value in row.items():
            times.setdefault(name, []).append(value)
        _, rows = rule.packed_distances(mine, feature_to_rotated(rotation, query), K)
        upper = (rows * (rows + 1)).mean() / (DIMENSION * (DIMENSION + 1))
        shares.append(float(8 * upper + 12 * (rows == DIMENSION).mean()) / 20)  # all of the lower bits, or none
        if turn < 20:
            for i in ids:
                prepared(i)
            true = np.array([by_scipy(i, query.astype(np.float64)) for i in ids])
            ours = packed_densities(mine, feature_to_rotated(rotation, query), K)
            whole = packed_densities(mine, feature_to_rotated(rotation, query), CANDIDATES)
            errors.append(float(np.abs(whole - true).max()))
            wrong += np.argsort(-ours)[:K].tolist() != np.argsort(-true)[:K].tolist()
            wrong += np.argsort(-whole).tolist() != np.argsort(-true).tolist()
            lowers.clear()
            normals.clear()
    found = {name: spread(values) for name, values in times.items()}
    fastest = min(("read", "read ahead"), key=lambda name: found[name]["median"])
    ratio = np.array(times["rerank"]) / np.array(times[fastest])
    return {
        "ms": found,
        "rerank / read": spread(ratio.tolist()),
        "rerank / read, of medians": found["rerank"]["median"] / found[fastest]["median"],
        "torch made / rerank, a candidate": CANDIDATES * found["torch, made"]["median"] / found["rerank"]["median"],
        "torch kept / rerank, a candidate": CANDIDATES * found["torch, kept"]["median"] / found["rerank"]["median"],
        "scipy / rerank, a candidate": CANDIDATES * found["scipy"]["median"] / found["rerank"]["median"],
        "share of the bytes that is read": float(np.mean(shares)),
        "largest error": max(errors),
        "rankings that differ": wrong,
    }


def to_markdown(report: dict[str, Any]) -> str:
    """The table, and the notes."""
    where, times = report["machine"], report["ms"]
    lines = [
        f"{CANDIDATES} candidates of {report['models']}, k = {K}, d = {DIMENSION}, one thread of {where['cpu']},"
        f" factors warm; {report['turns']} interleaved turns, ms.",
        "",
        "| what | median | quartiles | least |\n|---|--:|--:|--:|",
    ]
    for name, row in times.items():
        lines.append(f"| {name} | {row['median']:.3f} | {row['p25']:.3f}–{row['p75']:.3f} | {row['min']:.3f} |")
    ratio = report["rerank / read"]
    lines += [
        "",
        f"Re-ranking takes {report['rerank / read, of medians']:.2f} times as long as reading the factors once"
        f" (turn by turn {ratio['median']:.2f} [{ratio['p25']:.2f}–{ratio['p75']:.2f}]), having read"
        f" {100 * report['share of the bytes that is read']:.0f} % of their bytes."
        f" A candidate costs torch's `MultivariateNormal` {report['torch made / rerank, a candidate']:.0f} times"
        f" as much if made for the query, {report['torch kept / rerank, a candidate']:.0f} times if kept,"
        f" and SciPy {report['scipy / rerank, a candidate']:.0f} times. Largest difference from SciPy in float64:"
        f" {report['largest error']:.1e} nats; rankings that differ: {report['rankings that differ']}.",
        "",
        NOTES.read_text(encoding="utf-8").strip() if NOTES.is_file() else "",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

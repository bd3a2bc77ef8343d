"""Searches among 10 K, 100 K and 1 M vectors: exact and in 16-bit floats, one query and batches, beside their floors.

``torch`` and ``faiss`` rows ask the device alone, for its k best. ``engine`` rows ask ``GpuIndex``, as a search does:
the card's candidates, scored again in float32; with recall 1 it is exact. Truth is a float32 scan by NumPy. A batch
must read the vectors once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.gpu.options import Options
from benchmarks.gpu.plain import PlainIndex, best_rows
from benchmarks.gpu.timing import bandwidth, beside_floor, timed
from engine.bench import data
from engine.bench.data import near
from engine.index.faiss_device import FaissDevice, faiss_sees_gpu
from engine.index.gpu import GpuIndex
from engine.index.torch_device import TorchDevice

K, BATCHES, JUDGED, SEED = 10, (1, 16, 256), 64, 0
LEFT = 5.0
"""Seconds that must be left to begin a figure."""
Search = Callable[[np.ndarray], np.ndarray]


def rows(options: Options) -> Iterator[dict[str, Any]]:
    """One row a size, a searcher and a batch; a searcher that did not run has a row that says why."""
    for n in options.sizes:
        if time.monotonic() > options.deadline - LEFT:
            yield {"models": n, "not_run": "the time was up"}
            continue
        matrix = drawn(n, options.dimension, options.device)
        queries, _ = near(matrix, np.random.default_rng([SEED, n]), max(BATCHES))
        truth = best_rows(matrix, queries[:JUDGED], K)[1]
        reading = bandwidth(options.device)
        for name, size, make in searchers(matrix, options):
            shown = {"models": n, "dimension": options.dimension, "by": name}
            print(f"search: {n} models, {name}", file=sys.stderr, flush=True)
            if time.monotonic() > options.deadline - LEFT:
                yield {**shown, "not_run": "the time was up"}
                continue
            try:
                for row in measured(make, queries, truth, options):
                    row = beside_floor(row, size * matrix.size, reading["best_gb_s"])
                    yield {**shown, **row, "bandwidth_gb_s": reading["best_gb_s"]}
            except Exception as error:
                yield {**shown, "not_run": f"{type(error).__name__}: {error}"}


def drawn(n: int, dimension: int, device: str) -> np.ndarray:
    """Vectors ``(n, d)`` as ``engine.bench.data.clustered`` has them, made by the device, not by NumPy."""
    import torch

    random = np.random.default_rng([n, SEED])
    torch.manual_seed(SEED)
    scale = np.arange(1, dimension + 1) ** -data.SPECTRUM
    topics = random.standard_normal((max(n // data.MODELS_A_TOPIC, data.TOPICS), dimension)) * scale
    basis = np.linalg.qr(random.standard_normal((dimension, dimension)))[0]
    scale, topics, basis = (torch.tensor(part, dtype=torch.float32, device=device) for part in (scale, topics, basis))
    often = torch.arange(1, len(topics) + 1, device=device) ** -data.FAVOUR
    matrix = np.empty((n, dimension), np.float32)
    for start in range(0, n, data.BLOCK):
        own = topics[torch.multinomial(often, min(data.BLOCK, n - start), replacement=True)]
        own += data.AROUND * torch.randn(own.shape, device=device) * scale
        own[:, 0] += data.CONE
        matrix[start : start + len(own)] = (torch.nn.functional.normalize(own) @ basis).cpu().numpy()
    return matrix


def searchers(matrix: np.ndarray, options: Options) -> Iterator[tuple[str, int, Callable[[], Search]]]:
    """Names, bytes a number, and what builds them."""
    made = {"torch": partial(TorchDevice, device=options.device)}
    if options.full and options.device.startswith("cuda") and faiss_sees_gpu():
        made["faiss"] = FaissDevice
    for name, device in made.items():
        for recall in (0.95, 1.0):
            yield f"engine by {name}, recall {recall:g}", 2, partial(by_engine, matrix, device, recall, options.full)
        yield f"{name} float16", 2, partial(by_device, matrix, partial(device, half=True))
        yield f"{name} float32", 4, partial(by_device, matrix, partial(device, half=False))


def by_device(matrix: np.ndarray, make: Callable[[np.ndarray], Any]) -> Search:
    """The device's own k best."""
    device = make(matrix)
    return lambda queries: device.search(queries, K)[1]


def by_engine(matrix: np.ndarray, make: Callable[[np.ndarray], Any], recall: float, full: bool) -> Search:
    """The index over it. Raises: RuntimeError: the card did not prove itself."""
    ids = np.arange(len(matrix))
    flat: Any = PlainIndex(ids, matrix)
    if full:
        from engine.index import FlatIndex

        flat = FlatIndex.build(ids, matrix, dimension=matrix.shape[1])
    index = GpuIndex.proven(flat, make)
    if index.refused:
        raise RuntimeError(index.refused)

    def search(queries: np.ndarray) -> np.ndarray:
        found = index.search(queries, K, recall=recall)[1]
        if index.refused:
            raise RuntimeError(index.refused)
        return found

    return search


def measured(
    make: Callable[[], Search], queries: np.ndarray, truth: np.ndarray, options: Options
) -> Iterator[dict[str, Any]]:
    """One row a batch."""
    started = time.perf_counter()
    search = make()
    built = time.perf_counter() - started
    for batch in BATCHES:
        if time.monotonic() > options.deadline - LEFT:
            break
        places = range(0, len(queries), batch)
        some = [np.ascontiguousarray(queries[at : at + batch]) for at in places]
        row = timed(lambda turn, some=some: search(some[turn % len(some)]), options.device, options.seconds)
        found = np.concatenate([search(one) for one in some[: -(-JUDGED // batch)]])[:JUDGED]
        hits = [len(np.intersect1d(own, best)) for own, best in zip(found, truth, strict=True)]
        yield {
            "batch": batch, "k": K, **row, "ms_a_query": row["median_ms"] / batch,
            "recall": float(np.sum(hits) / truth.size), "build_s": built,
        }  # fmt: skip

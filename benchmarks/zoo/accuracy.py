"""Top-k accuracy of every method on judged queries: is a query's own model among the first k?

    python -m benchmarks.zoo.accuracy --database sqlite:///demo/zoo.db --queries demo/queries.jsonl

Writes ``benchmarks/results/demo_accuracy.json`` and ``.md``. Intervals are 95 % percentile bootstraps over models
(queries of one model are not independent), seed 0.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from engine import Engine
from engine.encoders.protocol import Encoder, images_to_features
from engine.samples import any_to_image

RESULTS = Path(__file__).resolve().parents[1] / "results"
MODALITIES = ("image", "sketch", "text")
METHODS = {
    "image": ("first_moment", "first_second_moment", "gaussian_density", "monte_carlo", "best_1", "best_10"),
    "sketch": ("first_moment", "gaussian_density", "monte_carlo", "best_1", "best_10"),
    "text": ("first_moment", "first_second_moment", "monte_carlo", "best_1", "best_10"),
}
CUTS = (1, 5, 10)
RESAMPLES = 2000


@dataclass(frozen=True)
class Row:
    """One line of the table: accuracies in [0, 1] by cut, and the 95 % interval of top-1."""

    modality: str
    method: str
    queries: int
    models: int
    top: dict[int, float]
    interval: tuple[float, float]


def read_queries(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Judged queries by modality; a picture's path is relative to the file."""
    queries: dict[str, list[dict[str, Any]]] = {modality: [] for modality in MODALITIES}
    for line in path.read_text(encoding="utf-8").splitlines():
        query = json.loads(line)
        for modality in MODALITIES:
            if modality in query:
                queries[modality].append(query)
    return queries


def queries_to_features(
    encoder: Encoder, modality: str, queries: Sequence[dict[str, Any]], folder: Path
) -> NDArray[np.float32]:
    """Features ``(n, d)`` float32 of one modality's queries."""
    if modality == "text":
        return encoder.texts_to_features([query["text"] for query in queries])
    return pictures_to_features(encoder, [folder / query[modality] for query in queries])


def pictures_to_features(encoder: Encoder, paths: Sequence[Path]) -> NDArray[np.float32]:
    """Features ``(n, d)`` float32 of picture files."""
    blocks = [
        images_to_features(encoder, [any_to_image(path, max_pixels=2**24) for path in paths[i : i + 64]])
        for i in tqdm(range(0, len(paths), 64), desc="encoding", disable=None, file=sys.stderr)
    ]
    return np.concatenate(blocks)


def ranks_to_row(modality: str, method: str, ranks: NDArray[np.int64], models: Sequence[str]) -> Row:
    """Ranks ``(n,)`` from 0 of each query's own model (a large number: not found) to a line of the table."""
    names, owner = np.unique(np.array(models), return_inverse=True)
    first = ranks == 0
    hits = np.bincount(owner, first, len(names))
    counts = np.bincount(owner, minlength=len(names))
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(names), size=(RESAMPLES, len(names)))
    resampled = hits[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    top = {cut: float((ranks < cut).mean()) for cut in CUTS}
    return Row(modality, method, len(ranks), len(names), top, (float(low), float(high)))


def measure(eng: Engine, queries_file: Path, encoder: Encoder) -> list[Row]:
    """Every method on every modality, through the public search."""
    rows = []
    ids = {model.name: model.id for model in eng.models()}
    for modality, queries in read_queries(queries_file).items():
        if not queries:
            continue
        features = queries_to_features(encoder, modality, queries, queries_file.parent)
        own = np.array([ids[query["model"]] for query in queries])
        for method in METHODS[modality]:
            _, found = eng.search_vectors(features, k=max(CUTS), method=method)
            matches = found == own[:, None]
            ranks = np.where(matches.any(axis=1), matches.argmax(axis=1), 10**6)
            rows.append(ranks_to_row(modality, method, ranks, [query["model"] for query in queries]))
            print(f"{modality} {method}: top-1 {rows[-1].top[1]:.3f}", file=sys.stderr)
    return rows


def rows_to_markdown(rows: Iterable[Row], collection: int) -> str:
    """The table, in per cent, with how it came about."""
    lines = [
        f"Top-k accuracy in per cent among {collection} models; brackets: 95 % bootstrap over models.",
        "",
        "| query | method | queries | top-1 | top-5 | top-10 |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        low, high = row.interval
        top = [f"{100 * row.top[cut]:.1f}" for cut in CUTS]
        top[0] += f" [{100 * low:.1f}–{100 * high:.1f}]"
        lines.append(f"| {row.modality} | `{row.method}` | {row.queries} | {' | '.join(top)} |")
    return "\n".join(lines) + "\n"


def write(rows: Sequence[Row], collection: int, folder: Path = RESULTS) -> None:
    """The table as Markdown and JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "demo_accuracy.md").write_text(rows_to_markdown(rows, collection), encoding="utf-8")
    data = {"models": collection, "rows": [vars(row) for row in rows]}
    (folder / "demo_accuracy.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


@click.command(help=__doc__)
@click.option("--database", required=True)
@click.option("--queries", type=click.Path(path_type=Path, exists=True), required=True)
def main(database: str, queries: Path) -> None:
    """Measure, print and write the table."""
    from engine.encoders import load_encoder

    with Engine.open(database) as eng:
        rows = measure(eng, queries, load_encoder(eng.default_encoder))
        write(rows, len(eng.models()))
        print(rows_to_markdown(rows, len(eng.models())))


if __name__ == "__main__":
    main()

"""The load benchmark, on a small collection for a moment: its figures hang together."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import load
from engine.bench.machine import machine


def test_figures_hang_together(tmp_path: Path) -> None:
    by_vector, queries = load.vector_kind(tmp_path, 300)
    assert len(by_vector.bodies) == len(queries) == load.QUERIES
    with load.opened(tmp_path) as eng:
        expected = [eng.names(eng.search_vectors(query, load.K)[1]) for query in queries[:3]]
    health = load.Kind("/healthz", "/healthz", [b""])
    with load.served(f"sqlite:///{tmp_path / 'zoo.db'}", index=tmp_path / "index") as address:
        load.check_answers(address, by_vector.bodies[:3], expected)
        with pytest.raises(Exception, match="the server answers"):
            load.check_answers(address, by_vector.bodies[:1], expected[1:2])
        rows = load.measure(address, [health, by_vector], (1, 2), rounds=1, seconds=0.5)
    assert [(row["request"], row["clients"]) for row in rows] == [
        ("/healthz", 1), ("/healthz", 2), (by_vector.name, 1), (by_vector.name, 2),
    ]  # fmt: skip
    for row in rows:
        assert row["statuses"] == {"200": row["requests"]}
        assert row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["requests"] > 5
    for row in rows[2:]:
        assert sum(row["shares"].values()) == pytest.approx(1)
        assert min(row["shares"].values()) >= 0
    report = {
        "rows": rows, "embedded_ms": {"x": 1.0}, "rounds": 1, "seconds": 0.5, "machine": machine()
    }  # fmt: skip
    assert load.to_markdown(report).count("\n| ") == 5

"""Ranking asked of a fresh view of the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.records import EncoderIdentity, EncoderRef, QueryPart
from engine.rerank.statistics_cache import StatisticsCache
from engine.scores import unit
from engine.search import IndexViews, Ranking, rank, rule_for
from engine.search.plan import Plan
from engine.storage import Catalog


@pytest.fixture
def views(catalog: Catalog, tmp_path: Path) -> IndexViews:
    """The index views of the collection."""
    return IndexViews(catalog, tmp_path / "index")


@pytest.fixture
def ask(views: IndexViews, catalog: Catalog, encoder_id: int, identity: EncoderIdentity) -> Callable[..., Ranking]:
    """``ask("gaussian_density", [part], 5)``."""
    evidence = StatisticsCache(catalog, 10**8)

    def run(method: str, parts: Sequence[QueryPart], k: int = 100, **more: Any) -> Ranking:
        view = views.current(EncoderRef(encoder_id, identity))
        rule = rule_for(method, [part.modality for part in parts])
        return rank(Plan(rule, view), evidence, parts, k, **{"shortlist": 1000, **more})

    return run


@pytest.fixture
def part() -> Callable[..., QueryPart]:
    """A random query: ``part(3, "sketch", weight)``."""

    def make(seed: int, modality: str = "image", weight: float = 1.0) -> QueryPart:
        feature = unit(np.random.default_rng(1000 + seed).normal(size=8).astype(np.float32))
        return QueryPart(modality, feature, weight)

    return make

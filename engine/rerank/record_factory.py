"""Records of models, made from what the database has of them: read a block at a time, made beside one another."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.blas import one_thread
from engine.errors import InvalidStatistics
from engine.records import Statistics

log = logging.getLogger("engine.search")
Item = TypeVar("Item")
Records = Mapping[int, NDArray[np.uint8]]
BLOCK = 32
"""Models that are made at a time, from statistics read at once."""


def make_records(
    ids: list[int],
    read: Callable[[list[int]], tuple[Mapping[int, Item], dict[int, str]]],
    make: Callable[[Item], NDArray[np.uint8] | None],
) -> Records:
    """Records by id; a model that can have none is absent, and named if damaged. LAPACK lets go of the interpreter."""
    records: dict[int, NDArray[np.uint8]] = {}

    def attempt(pair: tuple[int, Item]) -> tuple[int, NDArray[np.uint8] | None, str]:
        try:
            return pair[0], make(pair[1]), ""
        except InvalidStatistics as error:
            return pair[0], None, error.message

    with one_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(ids), BLOCK):
            good, damaged = read(ids[start : start + BLOCK])
            for model_id, record, reason in pool.map(attempt, good.items()):
                if record is not None:
                    records[model_id] = record
                elif reason:
                    damaged[model_id] = reason
            log_damaged(damaged)
    return records


def log_damaged(damaged: Mapping[int, str]) -> None:
    """Say which models are left out, and why."""
    for model_id, reason in damaged.items():
        log.warning("model id %d is left out: %s (see: engine doctor)", model_id, reason)


def is_finite(statistics: Statistics) -> bool:
    own = statistics.covariance
    return bool(np.isfinite(statistics.mean).all()) and (own is None or bool(np.isfinite(own).all()))

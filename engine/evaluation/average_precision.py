"""Average precision: AP@k(q) = 1/min(GT_q, k) · Σ_{j≤k} P_q(j) · Rel_q(j).

GT_q is how many models are relevant to query q, Rel_q(j) is 1 where its j-th answer is relevant and else 0, and
P_q(j) = 1/j · Σ_{i≤j} Rel_q(i) is the precision of its first j answers. mAP@k is the mean over queries. Relevant are
the models that share a tag with one that is right. Source: Lu et al. (2023).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def _average_precision(relevant: NDArray[np.bool_], total: int, k: int) -> float:
    first = relevant[:k]
    precision = np.cumsum(first) / np.arange(1, len(first) + 1)
    return float(precision[first].sum() / min(total, k))


def average_precision(ids: NDArray[np.int64], relevant: NDArray[np.int64], k: int | None = None) -> float:
    """AP@k of one query, or AP over all its answers if ``k`` is None; NaN if no model is relevant.

    ``ids`` ``(n,)`` are the answers, best first; ``relevant`` ``(GT,)`` the relevant models, whether found or not.
    """
    if k is not None and k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if not len(relevant):
        return float("nan")
    return _average_precision(np.isin(ids, relevant), len(relevant), max(len(ids), len(relevant)) if k is None else k)

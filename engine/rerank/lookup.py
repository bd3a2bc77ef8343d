"""Where a shortlist's records lie, in one compiled call: imported on first use, as Numba takes a second to import."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.compiled import compiled

Int64 = NDArray[np.int64]


def _locate(
    ids: Int64,
    changes: Int64,
    table_ids: Int64,
    table_changes: Int64,
    table_addresses: NDArray[np.uint64],
    table_sizes: Int64,
    state: NDArray[np.uint8],
    good: int,
    addresses: NDArray[np.uint64],
    sizes: Int64,
    others: Int64,
) -> Any:
    """Fill ``addresses`` and ``sizes`` ``(n,)`` with those of the records that are ``good``; how many these are.

    ``table_ids`` ascend. The rows of records that are of the right change but in another state go to ``others``
    ``(n,)``, and their number is returned too.
    """
    found, left = 0, 0
    for c in range(len(ids)):
        low, high = 0, len(table_ids)
        while low < high:
            middle = (low + high) // 2
            if table_ids[middle] < ids[c]:
                low = middle + 1
            else:
                high = middle
        if low == len(table_ids) or table_ids[low] != ids[c] or table_changes[low] != changes[c]:
            continue
        if state[low] != good:
            others[left] = low
            left += 1
            continue
        addresses[c], sizes[c] = table_addresses[low], table_sizes[low]
        found += 1
    return found, left


locate = compiled(_locate, nogil=True)

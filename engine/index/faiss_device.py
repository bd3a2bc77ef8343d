"""FAISS's flat index on a card. Written against its documented interface; it has not been run on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.index.base import Float32, Int64

TEMPORARY = 256 * 2**20
"""Bytes of the card that FAISS may work in; its default is 1.5 GiB."""
BLOCK = 65_536
"""Vectors that are copied at a time: the card needs room for them in float32."""


class FaissDevice:
    """``faiss.GpuIndexFlatIP`` over a copy of ``matrix`` ``(n, d)``, in 16-bit floats or, if not ``half``, float32."""

    def __init__(self, matrix: Float32, *, half: bool = True) -> None:
        """Raises: RuntimeError: the card has no room, or cannot be used."""
        import faiss

        config = faiss.GpuIndexFlatConfig()
        config.useFloat16 = half
        self._resources: Any = faiss.StandardGpuResources()  # it must outlive the index
        self._resources.setTempMemory(TEMPORARY)
        self._index: Any = faiss.GpuIndexFlatIP(self._resources, matrix.shape[1], config)
        for start in range(0, len(matrix), BLOCK):
            self._index.add(np.ascontiguousarray(matrix[start : start + BLOCK], np.float32))

    def search(self, queries: Float32, k: int) -> tuple[Float32, Int64]:
        """See ``Device``."""
        scores, rows = self._index.search(queries, k)
        return scores, rows


def faiss_sees_gpu() -> bool:
    """Whether FAISS has GPU code and sees a GPU."""
    try:
        import faiss
    except ImportError:
        return False
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0

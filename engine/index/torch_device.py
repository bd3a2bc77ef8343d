"""Inner products and their k largest by torch, for cards where FAISS has no GPU code. It has not been run on a GPU.

The vectors lie on the card in 16-bit floats. Products are summed in float32: by one mixed product where torch has it
(2.8 and newer, on CUDA), else of pieces that are widened first, which costs five times the traffic. Scores of a batch
are made some rows at a time, so that they need no more than ``SCORES`` bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.index.base import Float32, Int64
from engine.index.cuda import may_see_cuda

SCORES = 256 * 2**20
"""Bytes of scores that are on the card at a time."""
WIDENED = 65_536
"""Vectors that are copied, or widened to float32, at a time."""


class TorchDevice:
    """A copy of ``matrix`` ``(n, d)`` on a torch device, in 16-bit floats or, if not ``half``, float32."""

    def __init__(self, matrix: Float32, device: str = "cuda", *, half: bool = True) -> None:
        """Raises: RuntimeError: the card has no room, or cannot be used."""
        import torch

        self._torch: Any = torch
        self._device = torch.device(device)
        kind = torch.float16 if half else torch.float32
        self._rows: Any = torch.empty(matrix.shape, dtype=kind, device=self._device)
        for start in range(0, len(matrix), WIDENED):
            block = np.array(matrix[start : start + WIDENED], np.float32)
            self._rows[start : start + WIDENED] = torch.from_numpy(block).to(self._device)
        self._mixed = half and self._has_mixed_products()

    def search(self, queries: Float32, k: int) -> tuple[Float32, Int64]:
        """See ``Device``."""
        torch, n = self._torch, len(self._rows)
        some = max(SCORES // (4 * max(len(queries), 1)), k)
        with torch.inference_mode():
            asked = torch.from_numpy(np.array(queries, np.float32)).to(self._device)
            scores, rows = self._best(asked, 0, min(some, n), k)
            for start in range(some, n, some):
                more, others = self._best(asked, start, min(start + some, n), k)
                scores, rows = torch.cat([scores, more], dim=1), torch.cat([rows, others], dim=1)
                scores, order = scores.topk(k, dim=1)
                rows = rows.gather(1, order)
            return scores.cpu().numpy(), rows.cpu().numpy()

    def _best(self, asked: Any, start: int, stop: int, k: int) -> tuple[Any, Any]:
        scores, rows = self._products(asked, start, stop).topk(min(k, stop - start), dim=1)
        return scores, rows + start

    def _products(self, asked: Any, start: int, stop: int) -> Any:
        torch = self._torch
        if self._mixed:
            return torch.mm(asked.half(), self._rows[start:stop].T, out_dtype=torch.float32)
        if self._rows.dtype == torch.float32:
            return asked @ self._rows[start:stop].T
        scores = torch.empty((len(asked), stop - start), device=self._device)
        for at in range(start, stop, WIDENED):
            until = min(at + WIDENED, stop)
            scores[:, at - start : until - start] = asked @ self._rows[at:until].float().T
        return scores

    def _has_mixed_products(self) -> bool:
        torch = self._torch
        one = torch.ones((8, 8), dtype=torch.float16, device=self._device)
        try:
            return bool(torch.mm(one, one, out_dtype=torch.float32).dtype == torch.float32)
        except (TypeError, RuntimeError):  # an older torch, or a device that has none
            return False


def torch_sees_gpu() -> bool:
    """Whether torch sees a GPU; it is not imported where there can be none."""
    if not may_see_cuda():
        return False
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()

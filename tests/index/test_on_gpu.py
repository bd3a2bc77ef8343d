"""What ``make gpu`` checks on a card: here on torch's CPU device, and on CUDA where there is one."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
import torch

from benchmarks.gpu.checks import CHECKS, Skipped, torch_answers_in_16_bits, unit_rows
from engine.index import torch_device
from engine.index.device import require_device
from engine.index.faiss_device import FaissDevice
from engine.index.gpu import GpuIndex


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_on_a_device(check, device: str) -> None:
    try:
        check(device)
    except Skipped as why:
        pytest.skip(str(why))


def test_mixed_products_are_used_where_torch_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on CUDA: 16-bit factors, sums in float32."""
    kinds = set()

    def mixed(one: torch.Tensor, other: torch.Tensor, *, out_dtype: torch.dtype) -> torch.Tensor:
        kinds.add((one.dtype, other.dtype))
        return one.to(out_dtype) @ other.to(out_dtype)

    monkeypatch.setattr(torch, "mm", mixed)
    torch_answers_in_16_bits("cpu")
    assert kinds == {(torch.float16, torch.float16)}


def test_faiss_is_preferred_where_it_sees_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for its GPU classes, which faiss-cpu lacks."""

    class Resources:
        def setTempMemory(self, size: int) -> None:  # noqa: N802
            assert size < 2**30

    class Config:
        useFloat16 = False  # noqa: N815

    def on_card(resources: Resources, dimension: int, config: Config) -> faiss.Index:
        assert isinstance(resources, Resources)
        assert config.useFloat16
        return faiss.IndexFlatIP(dimension)

    for name, value in (
        ("StandardGpuResources", Resources),
        ("GpuIndexFlatConfig", Config),
        ("GpuIndexFlatIP", on_card),
    ):
        monkeypatch.setattr(faiss, name, value, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    assert require_device() is FaissDevice
    matrix = unit_rows(300)
    index = GpuIndex.build(np.arange(300), matrix, dimension=matrix.shape[1])
    assert not index.refused
    assert index.search(matrix[:5], 1)[1].ravel().tolist() == [0, 1, 2, 3, 4]
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    monkeypatch.setattr(torch_device, "may_see_cuda", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert require_device() is torch_device.TorchDevice

"""The frozen backbones as ONNX sessions: three times faster on a CPU than the same network in PyTorch.

Each backbone is exported once, from the packaged weights, into the user's cache folder, with its SHA-256 beside it;
a file that does not match is made again. Where the folder cannot be written, the export is kept in memory.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.config import cache_folder
from engine.encoders import compact_backbone, compact_text
from engine.errors import MissingDependency

log = logging.getLogger("engine.encoders")
VERSION = 1


def image_session(device: str = "cpu") -> Any:
    """ONNX session from ``images`` ``(n, 3, 128, 128)`` float32 to multi-level features ``(n, 1432)`` float32."""
    return _session("image", compact_backbone.weights_path(), _export_image, device)


def text_session(device: str = "cpu") -> Any:
    """ONNX session from ``ids``, ``mask`` ``(n, t)`` int64 to mean-pooled features ``(n, 384)`` float32."""
    weights = compact_text.model_folder() / "model.safetensors"
    return _session("text", weights, _export_text, device)


def _session(side: str, weights: Path, export: Callable[[], bytes], device: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(
            "the compact encoder needs the package onnxruntime", hint="pip install 'engine[compact]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    providers = ["CPUExecutionProvider"]
    if device.startswith("cuda") and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, "CUDAExecutionProvider")
    model = _cached(side, weights, export)
    return onnxruntime.InferenceSession(model, options, providers=providers)


def _cached(side: str, weights: Path, export: Callable[[], bytes]) -> bytes:
    """The exported model's bytes, from the cache if they are there and whole."""
    path = cache_folder() / f"compact-{side}-v{VERSION}-{weights.stat().st_size}.onnx"
    beside = path.with_suffix(".sha256")
    try:
        model = path.read_bytes()
        if hashlib.sha256(model).hexdigest() == beside.read_text(encoding="ascii"):
            return model
    except OSError:
        pass
    log.info("exporting the compact encoder's %s side to %s (once)", side, path)
    model = export()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, model)
        _replace(beside, hashlib.sha256(model).hexdigest().encode("ascii"))
    except OSError as error:
        log.warning("the exported encoder cannot be kept in %s: %s", path.parent, error)
    return model


def _replace(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _export_image() -> bytes:
    import torch
    from torch import nn

    class Levels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = compact_backbone.fold_batch_norms(compact_backbone.load_network())

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return compact_backbone.images_to_levels(self.network, images)

    example = (torch.zeros(2, 3, 128, 128),)
    return _export(Levels().eval(), example, ["images"], {"images": {0: "n"}, "features": {0: "n"}})


def _export_text() -> bytes:
    import torch

    ids = torch.ones((2, 5), dtype=torch.int64)
    axes = {"ids": {0: "n", 1: "t"}, "mask": {0: "n", 1: "t"}, "features": {0: "n"}}
    return _export(compact_text.load_network(), (ids, ids), ["ids", "mask"], axes)


def _export(module: Any, example: tuple[Any, ...], inputs: list[str], axes: dict[str, dict[int, str]]) -> bytes:
    import torch

    stream: Any = io.BytesIO()  # the tracing exporter takes one, whatever its annotation says
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, but needs no further package
        torch.onnx.export(
            module, example, stream, dynamo=False, input_names=inputs, output_names=["features"], dynamic_axes=axes
        )
    model: bytes = stream.getvalue()
    return model

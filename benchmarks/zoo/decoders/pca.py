"""PCA-Gaussian decoders: x = clip(m + z diag(σ) V), z ~ N(0, I): the Gaussian that fits the training pictures."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.zoo.decoders.pictures import DECODER_SIZE

LATENTS = 24


def principal_components(
    flat: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Rows ``(n, p)`` float32 to their mean ``(p,)``, singular values ``(count,)`` and directions ``(count, p)``.

    By the eigenvectors of the n × n Gram matrix: with p twenty times n, that is an SVD at a tenth of the price.
    """
    mean = flat.mean(axis=0)
    centred = flat - mean
    values, left = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    order = np.argsort(values)[::-1][:count]
    singular = np.sqrt(np.maximum(values[order], 1e-12))
    right = (left[:, order] / singular).T.astype(np.float32) @ centred
    return mean, singular.astype(np.float32), right


def pictures_to_pca(pictures: NDArray[np.float32]) -> bytes:
    """Pictures ``(n, 3, 64, 64)`` float32 in [0, 1] to an ONNX decoder from ``z`` ``(n, 24)`` to such pictures."""
    flat = pictures.reshape(len(pictures), -1)
    mean, singular, right = principal_components(flat, LATENTS)
    basis = right * (singular[:, None] / np.sqrt(len(flat) - 1))
    shape = np.array([-1, 3, DECODER_SIZE, DECODER_SIZE], np.int64)
    nodes = [
        helper.make_node("Gemm", ["z", "basis", "mean"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["picture"]),
        helper.make_node("Clip", ["picture", "zero", "one"], ["images"]),
    ]
    constants = {
        "basis": basis.astype(np.float32),
        "mean": mean.astype(np.float32),
        "shape": shape,
        "zero": np.float32(0),
        "one": np.float32(1),
    }
    graph = helper.make_graph(
        nodes,
        "pca-decoder",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", LATENTS])],
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, DECODER_SIZE, DECODER_SIZE])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"engine.range": "[0, 1]"})
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data

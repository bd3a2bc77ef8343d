"""Inputs of decoders that are no latents: drawn as the caller says, or refused by name. Pictures show their inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from engine.config import Settings
from engine.errors import InvalidManifest
from engine.samples import open_source, options_to_generator
from engine.samples.generators.onnx import OnnxGenerator
from tests.samples.test_generator_onnx import FLOAT, INT64, linear, pixels, save

BOOL = TensorProto.BOOL
LATENT = ("z", FLOAT, ["n", 8])


def shows(path: Path, name: str, element: int, shape: list[Any]) -> Path:
    """Pictures of 1 × 1 whose level is the input, or Σ i·x_i over its second axis; the latent has no effect."""
    nodes = [
        helper.make_node("Cast", [name], ["a"], to=FLOAT),
        helper.make_node("ReduceSum", ["z", "axis"], ["b"], keepdims=1),  # (n, 1), for the batch
        helper.make_node("Mul", ["b", "zero"], ["c"]),
        helper.make_node("Mul", ["a", "weights"], ["d"]),
        helper.make_node("Add", ["c", "d"], ["e"]),
        helper.make_node("ReduceSum", ["e", "axis"], ["f"], keepdims=1),
        helper.make_node("Reshape", ["f", "shape"], ["y"]),
    ]
    width = shape[1] if len(shape) > 1 and shape[1] != "m" else 1
    constants = {
        "axis": np.array([1], np.int64),
        "zero": np.array(0, np.float32),
        "weights": np.arange(width, dtype=np.float32) if width > 1 else np.array([1], np.float32),
        "shape": np.array([-1, 1, 1, 1], np.int64),
    }
    return save(path, nodes, [LATENT, (name, element, shape)], constants, {"engine.range": "[-10, 10]"})


def levels(path: Path, count: int = 200, **options: Any) -> NDArray[np.float64]:
    generator = options_to_generator({"type": "onnx", "path": str(path), **options})
    return pixels(generator, count, 0)[:, 0, 0, 0] / 255 * 20 - 10


PSI = "truncation_psi"
SHAPES: list[list[Any]] = [[1], [], [1, 1], ["n", 1]]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_float_beside_the_latent_is_refused_by_name(tmp_path: Path, shape: list[Any]) -> None:
    path = shows(tmp_path / "a.onnx", PSI, FLOAT, shape)
    with pytest.raises(InvalidManifest, match=f"does not say how to draw.*'{PSI}'") as caught:
        OnnxGenerator(path).draw(1, 0)
    assert f"inputs: {{{'z' if len(shape) > 1 else PSI}: " in (caught.value.hint or "")
    assert f"--input {PSI}=0.7" in (caught.value.hint or "")
    assert "--input z=0.7" not in (caught.value.hint or "")
    with pytest.raises(InvalidManifest, match=PSI):
        next(iter(open_source(path, settings=Settings(), samples=2).samples())).load()


def test_only_what_is_in_doubt_is_named(tmp_path: Path) -> None:
    clear, doubt = shows(tmp_path / "a.onnx", PSI, FLOAT, [1]), shows(tmp_path / "b.onnx", "label", FLOAT, ["n", 4])
    with pytest.raises(InvalidManifest) as caught:
        OnnxGenerator(clear).draw(1, 0)
    assert "'z'" not in caught.value.message
    with pytest.raises(InvalidManifest, match=r"'z'.*'label'"):  # either could be the latent
        OnnxGenerator(doubt).draw(1, 0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_number_is_given_to_every_picture(tmp_path: Path, shape: list[Any]) -> None:
    path = shows(tmp_path / "a.onnx", PSI, FLOAT, shape)
    for way in (0.75, 3, -2.5):
        inputs = {PSI: way} if len(shape) < 2 else {PSI: way, "z": "latent"}
        assert np.abs(levels(path, 5, inputs=inputs) - way).max() < 0.05


@pytest.mark.parametrize("element", [FLOAT, INT64, BOOL, TensorProto.FLOAT16])
def test_one_hot_labels(tmp_path: Path, element: int) -> None:
    path = shows(tmp_path / "a.onnx", "label", element, ["n", 5])
    with pytest.raises(InvalidManifest, match="'label'"):
        OnnxGenerator(path).draw(1, 0)
    drawn = levels(path, 500, inputs={"label": "one-hot"})
    assert np.abs(drawn - drawn.round()).max() < 0.05  # one of 0 … 4: exactly one is hot
    assert np.abs(np.bincount(drawn.round().astype(int), minlength=5) - 100).max() < 40  # four standard deviations


@pytest.mark.parametrize(
    ("way", "low", "high", "spread"),
    [("normal", -10, 10, 1.0), ("uniform", -1, 1, 3**-0.5), ("latent", -0.5, 0.5, 0.29)],
)
def test_noise_is_drawn_where_it_is_asked_for(tmp_path: Path, way: str, low: float, high: float, spread: float) -> None:
    path = shows(tmp_path / "a.onnx", "noise", FLOAT, ["n", 1])
    drawn = levels(path, 500, inputs={"noise": way, "z": "normal"}, truncation=0.5)  # of the latent alone
    assert low - 0.05 <= drawn.min() < drawn.max() <= high + 0.05
    assert drawn.std() == pytest.approx(spread, rel=0.15)


def test_one_label_a_picture_is_drawn_by_itself(tmp_path: Path) -> None:
    path = shows(tmp_path / "a.onnx", "label", INT64, ["n", 1])
    assert sorted(set(levels(path, 60, classes=3).round())) == [0, 1, 2]
    assert np.abs(levels(path, 5, inputs={"label": 2}) - 2).max() < 0.05


def test_several_labels_a_picture_only_if_they_are_said_to_be(tmp_path: Path) -> None:
    path = shows(tmp_path / "a.onnx", "label", INT64, ["n", 3])
    with pytest.raises(InvalidManifest, match="'label'"):
        levels(path, 5, classes=2)
    assert sorted(set(levels(path, 60, classes=2, inputs={"label": "labels"}).round())) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("element", "shape", "inputs", "reason"),
    [
        (FLOAT, [1], {"psi": 1}, "no input 'psi'"),
        (FLOAT, [1], {PSI: "warm"}, "a number or one of"),
        (FLOAT, [1], {PSI: True}, "a number or one of"),
        (FLOAT, [1], {PSI: None}, "a number or one of"),
        (FLOAT, [1], {PSI: 10**400}, "a number or one of"),
        (FLOAT, [1], {PSI: float("nan")}, "not JSON"),
        (FLOAT, [1], [PSI], "a mapping"),
        (FLOAT, [1], {PSI: 1e39}, "cannot be 1e[+]39"),
        (INT64, [1], {PSI: 0.5}, "cannot be 0.5"),
        (INT64, [1], {PSI: 2**63}, "cannot be"),
        (BOOL, [1], {PSI: 2}, "cannot be 2"),
        (FLOAT, ["n", 1], {PSI: "labels", "z": "latent"}, "'labels' does not suit"),
        (INT64, ["n", 1], {PSI: "normal"}, "'normal' does not suit"),
        (FLOAT, ["n"], {PSI: "one-hot"}, "'one-hot' does not suit"),
        (FLOAT, ["n", "m"], {PSI: 1, "z": "latent"}, "batch must come first"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, element: int, shape: Any, inputs: Any, reason: str) -> None:
    path = shows(tmp_path / "a.onnx", PSI, element, shape)
    with pytest.raises(InvalidManifest, match=reason):
        levels(path, 2, inputs=inputs)


def test_the_record_keeps_the_ways(tmp_path: Path) -> None:
    path = shows(tmp_path / "a.onnx", PSI, FLOAT, [1])
    generator = OnnxGenerator(path, inputs={PSI: 0.5})
    again = options_to_generator(json.loads(json.dumps(generator.describe())))
    assert [a.tobytes() for a in again.draw(3, 1)] == [b.tobytes() for b in generator.draw(3, 1)]
    assert again.digest() == generator.digest() != OnnxGenerator(path, inputs={PSI: 0.7}).digest()
    assert "inputs" not in OnnxGenerator(linear(tmp_path / "b.onnx")).describe()  # known records keep their digest

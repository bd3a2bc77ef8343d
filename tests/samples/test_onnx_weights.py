"""Weights that an ONNX model keeps in other files are part of what it is; whatever else lies beside it is not."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from engine.errors import EngineError, GeneratorError, SourceNotFound
from engine.samples.generators.onnx import OnnxGenerator
from engine.samples.generators.onnx_weights import FIELDS, external_weights

FLOAT = TensorProto.FLOAT


def tensor(location: str, name: str = "w") -> Any:
    """(4, 12) float32 that lie in another file."""
    made = TensorProto(name=name, data_type=FLOAT, dims=[4, 12], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("length", "192")):
        made.external_data.add(key=key, value=value)
    return made


def model(*tensors: Any, nodes: list[Any] | None = None) -> Any:
    """y = sigmoid(z w), as pictures of 2 × 2; of several tensors each is an initializer."""
    nodes = nodes or [
        helper.make_node("MatMul", ["z", "w"], ["a"]),
        helper.make_node("Sigmoid", ["a"], ["b"]),
        helper.make_node("Reshape", ["b", "s"], ["y"]),
    ]
    inputs, outputs = [("z", FLOAT, ["n", 4])], [("y", FLOAT, None)]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(*item) for item in inputs],
        [helper.make_tensor_value_info(*item) for item in outputs],
        [*tensors, numpy_helper.from_array(np.array([-1, 3, 2, 2], np.int64), "s")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def save(folder: Path, location: str, made: Any = None) -> Path:
    path = folder / "gen.onnx"
    path.write_bytes((made or model(tensor(location))).SerializeToString())
    return path


def weights(seed: int) -> bytes:
    return np.random.default_rng(seed).normal(size=(4, 12)).astype(np.float32).tobytes()


@pytest.mark.parametrize("location", ["weights.bin", "gen.onnx.data", "sub/w", "./w", "sub/../w", "wéights", "a b"])
def test_changed_weights_change_the_digest(tmp_path: Path, location: str) -> None:
    (tmp_path / "sub").mkdir()
    path = save(tmp_path, location)
    digests = set()
    for seed in (0, 1):
        (tmp_path / location).write_bytes(weights(seed))
        assert len(OnnxGenerator(path).draw(2, 0)) == 2
        digests.add(OnnxGenerator(path).digest())
    assert len(digests) == 2


def in_a_constant(made: Any) -> Any:
    return model(nodes=[helper.make_node("Constant", [], ["w"], value=made)])


def in_a_branch(made: Any) -> Any:
    inner = helper.make_graph([], "inner", [], [helper.make_tensor_value_info("w", FLOAT, None)], [made])
    return model(nodes=[helper.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner)])


def in_a_function(made: Any) -> Any:
    whole = model()
    node = helper.make_node("Constant", [], ["w"], value=made)
    whole.functions.append(helper.make_function("own", "f", [], ["w"], [node], [helper.make_opsetid("", 17)]))
    return whole


def in_a_sparse_tensor(made: Any) -> Any:
    whole = model()
    whole.graph.sparse_initializer.add().values.CopyFrom(made)
    return whole


def in_the_training(made: Any) -> Any:
    whole = model()
    whole.training_info.add().algorithm.initializer.append(made)
    return whole


@pytest.mark.parametrize(
    "place", [model, in_a_constant, in_a_branch, in_a_function, in_a_sparse_tensor, in_the_training]
)
def test_weights_are_found_wherever_they_are(tmp_path: Path, place: Any) -> None:
    (tmp_path / "w.bin").write_bytes(weights(0))
    path = save(tmp_path, "", place(tensor("w.bin")))
    assert external_weights(path) == [tmp_path / "w.bin"]


def test_fields_are_onnx_own() -> None:
    """Every field of these messages that leads to a tensor, by onnx's own description of itself."""
    leading = {*FIELDS, "TensorProto"}
    for message, fields in FIELDS.items():
        described = getattr(onnx, message).DESCRIPTOR.fields
        wanted = {f.number: f.message_type.name for f in described if f.message_type is not None}
        assert fields == {number: name for number, name in wanted.items() if name in leading}


def test_what_is_only_named_is_not_read(tmp_path: Path) -> None:
    """External data of a tensor whose values are in the model: ONNX Runtime does not look at it."""
    made = numpy_helper.from_array(np.zeros((4, 12), np.float32), "w")
    made.external_data.add(key="location", value="nowhere")
    assert external_weights(save(tmp_path, "", model(made))) == []


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [Path.mkdir, dangling, os.mkfifo, Path.touch], ids=["folder", "link", "pipe", "file"])
@pytest.mark.parametrize("name", ["gen.onnx.samples", "gen.onnx_data", "gen.onnx.data"])
def test_neighbours_do_not_matter(tmp_path: Path, make: Any, name: str) -> None:
    path = save(tmp_path, "w.bin")
    (tmp_path / "w.bin").write_bytes(weights(0))
    before = OnnxGenerator(path).digest()
    make(tmp_path / name)
    assert OnnxGenerator(path).digest() == before
    assert len(OnnxGenerator(path).draw(1, 0)) == 1


@pytest.mark.parametrize("location", ["../w.bin", "/etc/hostname", "sub/../../w.bin", "..", ""])
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(weights(0))
    generator = OnnxGenerator(save(folder, location))
    for call in (generator.digest, lambda: generator.draw(1, 0)):
        with pytest.raises(GeneratorError, match="outside its folder"):
            call()


def test_weights_that_are_not_there_or_no_file(tmp_path: Path) -> None:
    generator = OnnxGenerator(save(tmp_path, "w.bin"))
    with pytest.raises(SourceNotFound, match=r"'w\.bin'.*no such file"):
        generator.digest()
    os.mkfifo(tmp_path / "w.bin")
    for call in (generator.digest, lambda: generator.draw(1, 0)):
        with pytest.raises(GeneratorError, match="not a regular file"):
            call()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6), st.integers(0, 10_000))
def test_any_damage_is_no_more_than_an_error(tmp_path: Path, changes: list[tuple[int, int]], end: int) -> None:
    data = bytearray(model(tensor("w.bin")).SerializeToString())
    for place, value in changes:
        data[place % len(data)] = value
    path = tmp_path / "gen.onnx"
    path.write_bytes(data[: end % (2 * len(data))])
    (tmp_path / "w.bin").touch()
    found: list[Path] = []
    with suppress(EngineError):
        found = external_weights(path)
    assert all(tmp_path in weight.parents for weight in found)

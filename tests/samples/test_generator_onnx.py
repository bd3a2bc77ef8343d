"""ONNX decoders as generators, on graphs built here, whose pictures can be worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engine.config import Settings
from engine.errors import GeneratorError, InvalidManifest, SourceNotFound
from engine.samples import GeneratorSource, open_source, options_to_generator
from engine.samples.generators import draw
from engine.samples.generators.onnx import OnnxGenerator
from engine.samples.generators.pixels import output_to_images, pixels_to_range

FLOAT, INT64, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8


def save(
    path: Path,
    nodes: list[Any],
    inputs: list[tuple[str, int, list[Any]]],
    constants: dict[str, NDArray[Any]],
    metadata: dict[str, str] | None = None,
    output: int = FLOAT,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "decoder",
        [helper.make_tensor_value_info(*item) for item in inputs],
        [helper.make_tensor_value_info("y", output, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))
    return path


def linear(
    path: Path,
    *,
    shape: tuple[int, ...] = (-1, 3, 2, 2),
    after: str | None = "Tanh",
    batch: Any = "n",
    element: int = FLOAT,
    shift: float = 0.0,
    **kwargs: Any,
) -> Path:
    """y = after(z W + shift), reshaped to pictures; z has 4 numbers, W is a fixed (4, 12) matrix."""
    dtype = helper.tensor_dtype_to_np_dtype(element)
    weights = np.linspace(-1, 1, 48).reshape(4, 12).astype(dtype)
    nodes = [
        helper.make_node("MatMul", ["z", "w"], ["a"]),
        helper.make_node("Add", ["a", "s"], ["b"]),
        helper.make_node(after or "Identity", ["b"], ["c"]),
        helper.make_node("Reshape", ["c", "shape"], ["y"]),
    ]
    constants = {"w": weights, "s": np.array(shift, dtype), "shape": np.array(shape, np.int64)}
    return save(path, nodes, [("z", element, [batch, 4])], constants, output=element, **kwargs)


def pixels(generator: Any, count: int, seed: int) -> NDArray[np.uint8]:
    return np.stack([np.asarray(image) for image in generator.draw(count, seed)])


def test_it_decodes_the_latents_that_the_seed_gives(tmp_path: Path) -> None:
    generator = OnnxGenerator(linear(tmp_path / "a.onnx"))
    z = np.random.Generator(np.random.PCG64(5)).standard_normal((3, 4), np.float32)
    wanted = np.tanh(z @ np.linspace(-1, 1, 48).reshape(4, 12)).reshape(3, 3, 2, 2).transpose(0, 2, 3, 1)
    assert np.abs(pixels(generator, 3, 5) - (wanted + 1) / 2 * 255).max() <= 0.51


@pytest.mark.parametrize("shape", [(-1, 3, 2, 2), (-1, 2, 2, 3), (-1, 1, 3, 4), (-1, 3, 4, 1)])
def test_every_layout(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = OnnxGenerator(linear(tmp_path / "a.onnx", shape=shape)).draw(2, 0)
    sides = {(-1, 3, 2, 2): (2, 2), (-1, 2, 2, 3): (2, 2), (-1, 1, 3, 4): (4, 3), (-1, 3, 4, 1): (2, 3)}
    width, height = {(-1, 3, 4, 1): (1, 4)}.get(shape, sides[shape])
    assert [(image.mode, image.size) for image in images] == [("RGB", (width, height))] * 2


def test_ranges_are_judged_from_what_it_draws(tmp_path: Path) -> None:
    signed = OnnxGenerator(linear(tmp_path / "tanh.onnx", after="Tanh"))
    unit = OnnxGenerator(linear(tmp_path / "sigmoid.onnx", after="Sigmoid"))
    z = np.random.Generator(np.random.PCG64(1)).standard_normal((4, 4), np.float32)
    a = (z @ np.linspace(-1, 1, 48).reshape(4, 12)).reshape(4, 3, 2, 2).transpose(0, 2, 3, 1)
    assert np.abs(pixels(signed, 4, 1) - (np.tanh(a) + 1) / 2 * 255).max() <= 0.51
    assert np.abs(pixels(unit, 4, 1) - 255 / (1 + np.exp(-a))).max() <= 0.51


def test_the_range_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    # tanh(a + 1): single pictures rarely have a negative pixel, sixteen probes together do.
    generator = OnnxGenerator(linear(tmp_path / "a.onnx", shift=1.0))
    alone = [pixels(OnnxGenerator(tmp_path / "a.onnx"), 1, seed)[0] for seed in range(20)]
    assert np.array_equal(np.stack(alone), np.stack([pixels(generator, 1, seed)[0] for seed in range(20)]))
    z = np.stack([np.random.Generator(np.random.PCG64(seed)).standard_normal((1, 4), np.float32) for seed in range(20)])
    raw = np.tanh(z @ np.linspace(-1, 1, 48).reshape(4, 12) + 1.0)
    assert (raw.min(axis=(1, 2)) >= -0.05).any(), "else this test says nothing"
    wanted = ((raw + 1) / 2 * 255).reshape(20, 3, 2, 2).transpose(0, 2, 3, 1)
    assert np.abs(np.stack(alone) - wanted).max() <= 0.51


def test_the_network_says_its_range_the_option_overrules_it(tmp_path: Path) -> None:
    path = linear(tmp_path / "a.onnx", after="Tanh", metadata={"engine.range": "[-2, 2]"})
    z = np.random.Generator(np.random.PCG64(1)).standard_normal((2, 4), np.float32)
    raw = np.tanh(z @ np.linspace(-1, 1, 48).reshape(4, 12)).reshape(2, 3, 2, 2).transpose(0, 2, 3, 1)
    assert np.abs(pixels(OnnxGenerator(path), 2, 1) - (raw + 2) / 4 * 255).max() <= 0.51
    generator = options_to_generator({"type": "onnx", "path": str(path), "range": [0, 1]})
    assert np.abs(pixels(generator, 2, 1) - np.clip(raw, 0, 1) * 255).max() <= 0.51
    broken = linear(tmp_path / "b.onnx", metadata={"engine.range": "bright"})
    with pytest.raises(GeneratorError, match=r"engine\.range"):
        OnnxGenerator(broken).draw(1, 0)


def test_an_output_in_no_known_range(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="in neither") as caught:
        OnnxGenerator(linear(tmp_path / "a.onnx", after=None, shift=100.0)).draw(1, 0)
    assert "range" in (caught.value.hint or "")


def test_uint8_output_is_taken_as_it_is(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Abs", ["z"], ["a"]),
        helper.make_node("Mul", ["a", "k"], ["b"]),
        helper.make_node("Cast", ["b"], ["y"], to=UINT8),
    ]
    path = save(
        tmp_path / "a.onnx", nodes, [("z", FLOAT, ["n", 3, 2, 2])], {"k": np.array(10, np.float32)}, output=UINT8
    )
    z = np.random.Generator(np.random.PCG64(0)).standard_normal((2, 3, 2, 2), np.float32)
    assert np.array_equal(pixels(OnnxGenerator(path), 2, 0), (np.abs(z) * 10).astype(np.uint8).transpose(0, 2, 3, 1))


@pytest.mark.parametrize("element", [TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_other_precisions(tmp_path: Path, element: int) -> None:
    narrow = pixels(OnnxGenerator(linear(tmp_path / "a.onnx", element=element)), 2, 3).astype(int)
    wide = pixels(OnnxGenerator(linear(tmp_path / "b.onnx")), 2, 3).astype(int)
    assert np.abs(narrow - wide).max() <= 2


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_is_looped(tmp_path: Path, batch: int) -> None:
    fixed = OnnxGenerator(linear(tmp_path / "a.onnx", batch=batch))
    free = OnnxGenerator(linear(tmp_path / "b.onnx"))
    for count in (1, 4, 6):
        assert np.abs(pixels(fixed, count, 2).astype(int) - pixels(free, count, 2)).max() <= 1
        assert len(fixed.draw(count, 2)) == count


def label_decoder(path: Path, metadata: dict[str, str] | None = None) -> Path:
    """Each picture is 2 × 2 pixels of its label, as uint8."""
    nodes = [
        helper.make_node("Cast", ["label"], ["a"], to=UINT8),
        helper.make_node("Reshape", ["a", "one"], ["b"]),
        helper.make_node("Tile", ["b", "times"], ["y"]),
    ]
    constants = {"one": np.array([-1, 1, 1, 1], np.int64), "times": np.array([1, 3, 2, 2], np.int64)}
    return save(path, nodes, [("label", INT64, ["n"])], constants, metadata, UINT8)


def test_class_labels_are_drawn_uniformly(tmp_path: Path) -> None:
    generator = OnnxGenerator(label_decoder(tmp_path / "a.onnx"), classes=4)
    drawn = pixels(generator, 2000, 0)[:, 0, 0, 0]
    assert np.array_equal(drawn, np.random.Generator(np.random.PCG64(0)).integers(4, size=2000))
    assert np.abs(np.bincount(drawn) - 500).max() < 80  # four standard deviations
    said = OnnxGenerator(label_decoder(tmp_path / "b.onnx", {"engine.classes": "4"}))
    assert np.array_equal(pixels(said, 2000, 0)[:, 0, 0, 0], drawn)
    with pytest.raises(InvalidManifest, match="how many classes"):
        OnnxGenerator(label_decoder(tmp_path / "c.onnx")).draw(1, 0)
    with pytest.raises(InvalidManifest, match="how many classes"):
        OnnxGenerator(label_decoder(tmp_path / "d.onnx", {"engine.classes": "many"})).draw(1, 0)


def identity(path: Path) -> Path:
    """Each picture is its latent, mapped from [−4, 4]."""
    nodes = [helper.make_node("Identity", ["z"], ["y"])]
    return save(path, nodes, [("z", FLOAT, ["n", 1, 16, 16])], {}, {"engine.range": "[-4, 4]"})


def latents(path: Path, **options: Any) -> NDArray[np.float64]:
    generator = options_to_generator({"type": "onnx", "path": str(path), **options})
    return pixels(generator, 40, 0)[..., 0] / 255 * 8 - 4


def test_latents_and_truncation(tmp_path: Path) -> None:
    path = identity(tmp_path / "a.onnx")
    step = 8 / 255
    normal = latents(path)
    assert abs(normal.std() - 1) < 0.05
    assert normal.max() > 2.5
    cut = latents(path, truncation=0.5)
    assert np.abs(cut).max() <= 0.5 + step
    # The variance of a standard normal within [−t, t] is 1 − 2 t φ(t) / (2 Φ(t) − 1) = 0.0804 for t = 0.5.
    assert abs(cut.var() - 0.0804) < 0.005
    assert np.abs(latents(path, truncation=0.001)).max() <= 0.001 + step
    uniform = latents(path, latent="uniform")
    assert np.abs(uniform).max() <= 1 + step
    assert abs(uniform.var() - 1 / 3) < 0.02
    assert np.abs(latents(path, latent="uniform", truncation=0.25)).max() <= 0.25 + step


def test_a_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="NaN or an infinity"):
        OnnxGenerator(linear(tmp_path / "a.onnx", after="Log"), output_range=(0, 1)).draw(3, 0)
    with pytest.raises(GeneratorError):
        OnnxGenerator(linear(tmp_path / "a.onnx", after="Log")).draw(3, 0)


def test_files_that_are_no_decoders(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound):
        OnnxGenerator(tmp_path / "absent.onnx")
    path = linear(tmp_path / "a.onnx")
    for data in (b"", b"hello", path.read_bytes()[:100]):
        (tmp_path / "b.onnx").write_bytes(data)
        with pytest.raises(GeneratorError, match="not an ONNX model"):
            OnnxGenerator(tmp_path / "b.onnx").draw(1, 0)


def test_custom_operators_are_not_run(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Anything", ["z"], ["y"], domain="my.own")], "g",
        [helper.make_tensor_value_info("z", FLOAT, ["n", 3, 2, 2])], [helper.make_tensor_value_info("y", FLOAT, None)],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.own", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(tmp_path / "a.onnx"))
    with pytest.raises(GeneratorError, match="not an ONNX model that can be run") as caught:
        OnnxGenerator(tmp_path / "a.onnx").draw(1, 0)
    assert "custom operators" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ([("z", FLOAT, ["n", "m", 2, 2])], "the batch must come first"),
        ([("z", FLOAT, [])], "does not say how to draw"),
        ([("z", FLOAT, ["n"])], "does not say how to draw"),
        ([("z", TensorProto.BOOL, ["n", 3, 2, 2])], "does not say how to draw"),
        ([("z", TensorProto.STRING, ["n", 3, 2, 2])], "neither latent nor label"),
    ],
)
def test_inputs_that_cannot_be_drawn(tmp_path: Path, inputs: list[Any], reason: str) -> None:
    nodes = [helper.make_node("Identity", ["z"], ["y"])]
    with pytest.raises(InvalidManifest, match=reason):
        OnnxGenerator(save(tmp_path / "a.onnx", nodes, inputs, {}, output=inputs[0][1])).draw(1, 0)


@pytest.mark.parametrize("shape", [(-1, 12), (-1, 2, 2, 3, 1), (-1, 1, 1, 3, 4)])
def test_outputs_that_are_no_pictures(tmp_path: Path, shape: tuple[int, ...]) -> None:
    generator = OnnxGenerator(linear(tmp_path / "a.onnx", shape=shape))
    with pytest.raises(GeneratorError, match="latents"):
        generator.draw(1, 0)


def test_pixels_that_are_no_pictures() -> None:
    with pytest.raises(GeneratorError, match="no axis of 1 or 3"):
        output_to_images(np.zeros((1, 4, 4, 4)), (0, 1), who="x")
    with pytest.raises(GeneratorError, match="int32"):
        output_to_images(np.zeros((1, 3, 4, 4), np.int32), (0, 1), who="x")


def test_ranges_by_hand() -> None:
    assert pixels_to_range(np.array([0, 255], np.uint8)) == (0, 255)
    assert pixels_to_range(np.array([-0.04, 1.04])) == (0, 1)
    assert pixels_to_range(np.array([-0.06, 0.5])) == (-1, 1)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"latent": "poisson"}, "normal or uniform"),
        ({"truncation": -1}, "'truncation'"),
        ({"range": "bright"}, "'range'"),
        ({"range": [1, 0]}, "'range'"),
        ({"range": [0, float("inf")]}, "'range'"),
        ({"classes": 0}, "'classes'"),
        ({"device": "cuda"}, "no option 'device'"),
        ({"path": None}, "needs the option 'path'"),
    ],
)
def test_options_are_checked(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    linear(tmp_path / "a.onnx")
    with pytest.raises(InvalidManifest, match=reason):
        options_to_generator({"type": "onnx", "path": "a.onnx", **options}, base=tmp_path)


def test_a_file_is_a_source_without_trust(tmp_path: Path) -> None:
    source = open_source(linear(tmp_path / "a.onnx"), settings=Settings(), samples=5, seed=3)
    assert isinstance(source, GeneratorSource)
    described = json.loads(json.dumps(source.describe()))
    again = draw(described["generator"], 5, 3)
    assert [image.tobytes() for image in again] == [sample.load().tobytes() for sample in source.samples()]


def test_the_digest_follows_the_file_and_the_options(tmp_path: Path) -> None:
    path = linear(tmp_path / "a.onnx")
    one = OnnxGenerator(path).digest()
    assert OnnxGenerator(path).digest() == one
    assert OnnxGenerator(path, truncation=0.5).digest() != one
    linear(path, after="Sigmoid")
    assert OnnxGenerator(path).digest() != one


def test_a_name_that_is_not_utf_8_is_a_broken_decoder(tmp_path: Path) -> None:
    path = linear(tmp_path / "a.onnx", batch="axis-n")
    path.write_bytes(path.read_bytes().replace(b"axis-n", b"axis-\xff"))
    with pytest.raises(GeneratorError, match=r"a\.onnx"):
        OnnxGenerator(path).draw(2, 0)
